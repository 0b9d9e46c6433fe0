"""Deletes: at once for users, while tombstones keep numbers and lineage.

Lock order: the artifact, then the registered models that link it, by id.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db import attributes, bounded
from modelyard_server.db.engine import now
from modelyard_server.db.tables import (
    Alias,
    ArtifactVersion,
    Collection,
    Link,
    ManifestRemoval,
    VersionFile,
)
from modelyard_server.db.upserts import batches, insert_missing
from modelyard_server.domain import events
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, authorize
from modelyard_server.domain.access.principals import SERVER, Principal
from modelyard_server.domain.registry import aliases, collections, registered_models, versions
from modelyard_server.domain.registry.full_names import full_names

_NAMED = 10
"""Links named in a refusal."""
_ARTIFACTS = 100
SWEEP_BATCH = 50


def delete_version(session: Session, principal: Principal, found: ArtifactVersion, *, force: bool) -> None:
    """Deletes a version; its manifest goes, its bytes come back with the collector.

    Raises VersionLinked, VersionHasAliases unless `force`: then its
    aliases and links are removed too.
    """
    artifact, version = versions.lock(session, found)
    links = _links(session, [version.id])
    if not force:
        _refuse_linked(session, principal, links)
        _refuse_aliased(session, Alias.version_id == version.id)
    _remove_links(session, principal, links)
    _delete(session, principal, artifact, [version])


def artifacts_past_time(session: Session) -> Sequence[str]:
    """Ids of artifacts that have versions past their time, at most 100; those that wait longest first."""
    return session.scalars(
        select(ArtifactVersion.collection_id)
        .where(*_past_time(session))
        .group_by(ArtifactVersion.collection_id)
        .order_by(func.min(ArtifactVersion.expires_at))
        .limit(_ARTIFACTS)
    ).all()


def delete_past_time(session: Session, artifact_id: str) -> int:
    """Deletes at most 50 versions of an artifact that are past their time, and says how many.

    0 while somebody else is at the artifact. Linking a version takes its time away, so none is linked.
    """
    locked = select(Collection).where(Collection.id == artifact_id).with_for_update(skip_locked=True)
    artifact = session.scalar(locked.execution_options(populate_existing=True))
    if artifact is None:
        return 0
    past = select(ArtifactVersion).where(ArtifactVersion.collection_id == artifact_id, *_past_time(session))
    expired = session.scalars(past.order_by(ArtifactVersion.number).limit(SWEEP_BATCH)).all()
    _delete(session, SERVER, artifact, expired)
    return len(expired)


def delete_artifact(session: Session, principal: Principal, artifact: Collection, *, force: bool) -> None:
    """Deletes an artifact and its versions. Raises as `delete_version`."""
    collections.lock(session, artifact.id)
    alive = session.scalars(
        select(ArtifactVersion).where(
            ArtifactVersion.collection_id == artifact.id, ArtifactVersion.deleted_at.is_(None)
        )
    ).all()
    links = _links(session, [version.id for version in alive])
    if not force:
        _refuse_linked(session, principal, links)
        _refuse_aliased(session, Alias.collection_id == artifact.id)
    _remove_links(session, principal, links)
    aliases.clear(session, principal, artifact)
    _bury(session, alive)
    _bury_collection(session, principal, artifact)


def delete_model(session: Session, principal: Principal, model: Collection) -> None:
    """Deletes a registered model with its links; the linked versions stay."""
    collections.lock(session, model.id)
    links = session.scalars(
        select(Link).where(Link.collection_id == model.id, Link.deleted_at.is_(None)).order_by(Link.number)
    ).all()
    aliases.clear(session, principal, model)
    _unlink(session, principal, links)
    _bury_collection(session, principal, model)


def delete_link(session: Session, principal: Principal, found: Link) -> None:
    """Removes a link; `latest` goes to the one linked last of those that remain."""
    collections.lock(session, found.collection_id)
    link = session.get(Link, found.id, populate_existing=True)
    if link is None or link.deleted_at is not None:
        raise owners.not_found("registered model version", found.id)
    _unlink(session, principal, [link])
    _release(session, principal, [link])


def _links(session: Session, version_ids: Sequence[str]) -> list[Link]:
    """The links of versions, after locking their registered models: no link comes or goes any more."""
    found: list[Link] = []
    for batch in batches(sorted(version_ids)):
        query = select(Link).where(Link.version_id.in_(batch), Link.deleted_at.is_(None)).order_by(Link.id)
        found += session.scalars(query).all()
    collections.lock_collections(session, [link.collection_id for link in found])
    for link in found:
        session.refresh(link)  # unlinked, perhaps, while this waited for the lock
    return [link for link in found if link.deleted_at is None]


def _remove_links(session: Session, principal: Principal, links: Sequence[Link]) -> None:
    _unlink(session, principal, links)
    _release(session, principal, links)


def _unlink(session: Session, principal: Principal, links: Sequence[Link]) -> None:
    linked: dict[str, ArtifactVersion] = {}
    for batch in batches(sorted({link.version_id for link in links})):
        rows = session.scalars(select(ArtifactVersion).where(ArtifactVersion.id.in_(batch)))
        linked |= {version.id: version for version in rows}
    where = full_names(
        session,
        [version.collection_id for version in linked.values()] + [link.collection_id for link in links],
    )
    for link in links:
        version = linked[link.version_id]
        link.deleted_at = now(session)
        registered_models.record_link(
            session,
            principal,
            "unlinked",
            link,
            version,
            where[version.collection_id],
            where[link.collection_id],
        )
    session.flush()


def _release(session: Session, principal: Principal, links: Sequence[Link]) -> None:
    for link in links:
        aliases.release(session, principal, session.get_one(Collection, link.collection_id), link)


def _past_time(session: Session) -> Sequence[ColumnElement[bool]]:
    return (
        ArtifactVersion.expires_at <= now(session),
        ArtifactVersion.deleted_at.is_(None),
        ~exists().where(Link.version_id == ArtifactVersion.id, Link.deleted_at.is_(None)),
    )


def _delete(
    session: Session, principal: Principal, artifact: Collection, versions: Sequence[ArtifactVersion]
) -> None:
    """All at once, so that `latest` moves to one that stays."""
    _bury(session, versions)
    session.flush()
    for version in versions:
        aliases.release(session, principal, artifact, version)
        events.record(
            session,
            artifact.project_id,
            "version_deleted",
            principal,
            collection_id=artifact.id,
            collection=artifact.name,
            version=f"v{version.number}",
            version_id=version.id,
        )


def remove_manifests(session: Session) -> int:
    """Deletes entries of deleted versions, as many as one transaction should; 50 when there may be more."""
    waiting = select(ManifestRemoval).order_by(ManifestRemoval.version_id).limit(SWEEP_BATCH)
    found = session.scalars(waiting.with_for_update(skip_locked=True)).all()
    room = bounded.ROWS
    for removal in found:
        own = VersionFile.version_id == removal.version_id
        room -= bounded.delete_some(session, VersionFile, own, limit=room)
        if room == 0:
            return SWEEP_BATCH
        session.delete(removal)
    return len(found)


def _bury(session: Session, versions: Sequence[ArtifactVersion]) -> None:
    # Nobody reads the entries of a deleted version: where there are many, the sweep deletes them.
    large = sum(version.file_count for version in versions) > bounded.ROWS
    for batch in batches([version.id for version in versions]):
        if large:
            insert_missing(session, ManifestRemoval, [{"version_id": id_} for id_ in sorted(batch)])
        else:
            session.execute(delete(VersionFile).where(VersionFile.version_id.in_(batch)))
        session.execute(
            update(ArtifactVersion)
            .where(ArtifactVersion.id.in_(batch))
            .values(deleted_at=now(session), expires_at=None)
        )
    attributes.forget(session, [version.id for version in versions])


def _bury_collection(session: Session, principal: Principal, row: Collection) -> None:
    row.deleted_at = row.updated_at = now(session)
    details = {"collection": row.name}
    events.record(session, row.project_id, "collection_deleted", principal, collection_id=row.id, **details)


def _refuse_linked(session: Session, principal: Principal, links: Sequence[Link]) -> None:
    """Raises VersionLinked if there are links; it names those that the caller may see, and counts all."""
    if not links:
        return
    names = full_names(session, [link.collection_id for link in links])
    seen = [
        name.ref(link.number)
        for link in links
        if authorize(session, principal, Action.READ, (name := names[link.collection_id]).resource)
    ]
    shown = ", ".join(seen[:_NAMED])
    hidden = len(links) - len(seen)
    told = [
        shown,
        f"{len(seen) - _NAMED} more" if len(seen) > _NAMED else "",
        f"{hidden} in entities that this key does not reach" if hidden else "",
    ]
    where_to = " and ".join(filter(None, told))
    raise errors.VersionLinked(f"linked to {where_to}; unlink first", metadata={"links": shown})


def _refuse_aliased(session: Session, condition: ColumnElement[bool]) -> None:
    standing = select(Alias.alias).where(condition).order_by(Alias.alias).limit(_NAMED)
    names = ", ".join(session.scalars(standing))
    if names:
        raise errors.VersionHasAliases(
            f"has the aliases {names}; remove them first, or force the deletion", metadata={"aliases": names}
        )
