"""Deletes of artifacts, registered models, versions and links.

What is deleted is not found any more once the transaction commits. Its row stays
as a tombstone, so that numbers are not given out again and lineage keeps its
nodes. Lock order: the artifact, then the registered models that link it, by id.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
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
"""Links or aliases named in a refusal."""
_ARTIFACTS = 100
SWEEP_BATCH = 50


def delete_version(session: Session, principal: Principal, found: ArtifactVersion, *, force: bool) -> None:
    """Deletes a version that was resolved, with its manifest. Its files and chunks are left to the collector.

    With `force` its links and aliases are removed too; without, it must have none.
    Raises VersionLinked, VersionHasAliases, NotFound.
    """
    artifact, version = versions.lock(session, found)
    links = _lock_links(session, [version.id])
    if not force:
        _refuse_linked(session, principal, links)
        _refuse_aliased(session, Alias.version_id == version.id)
    _delete_links(session, principal, links)
    _delete_versions(session, principal, artifact, [version])


def delete_artifact(session: Session, principal: Principal, artifact: Collection, *, force: bool) -> None:
    """Deletes an artifact and its versions; otherwise as `delete_version`. `latest` does not count."""
    collections.lock(session, artifact.id)
    rows = session.scalars(
        select(ArtifactVersion).where(
            ArtifactVersion.collection_id == artifact.id, ArtifactVersion.deleted_at.is_(None)
        )
    ).all()
    links = _lock_links(session, [row.id for row in rows])
    if not force:
        _refuse_linked(session, principal, links)
        _refuse_aliased(session, Alias.collection_id == artifact.id, Alias.alias != refs.LATEST)
    _delete_links(session, principal, links)
    aliases.clear(session, principal, artifact)
    _make_tombstones(session, rows)
    collections.mark_deleted(session, principal, artifact)


def delete_model(session: Session, principal: Principal, model: Collection, *, force: bool) -> None:
    """Deletes a registered model with its links; the linked versions stay.

    Without `force` its links must have no aliases but `latest`. Raises
    VersionHasAliases, NotFound.
    """
    collections.lock(session, model.id)
    if not force:
        _refuse_aliased(session, Alias.collection_id == model.id, Alias.alias != refs.LATEST)
    links = session.scalars(
        select(Link).where(Link.collection_id == model.id, Link.deleted_at.is_(None)).order_by(Link.number)
    ).all()
    aliases.clear(session, principal, model)
    registered_models.mark_unlinked(session, principal, links)
    collections.mark_deleted(session, principal, model)


def delete_link(session: Session, principal: Principal, found: Link, *, force: bool) -> None:
    """Deletes a link that was resolved; `latest` moves to the newest link that is left.

    Without `force` it must have no aliases but `latest`. Raises VersionHasAliases, NotFound.
    """
    collections.lock(session, found.collection_id)
    link = session.get(Link, found.id, populate_existing=True)
    if link is None or link.deleted_at is not None:
        raise owners.not_found("registered model version", found.id)
    if not force:
        _refuse_aliased(session, Alias.link_id == link.id, Alias.alias != refs.LATEST)
    _delete_links(session, principal, [link])


def artifacts_with_expired(session: Session) -> Sequence[str]:
    """Ids of at most 100 artifacts with expired versions, those that expired first in front."""
    return session.scalars(
        select(ArtifactVersion.collection_id)
        .where(*_expired(session))
        .group_by(ArtifactVersion.collection_id)
        .order_by(func.min(ArtifactVersion.expires_at))
        .limit(_ARTIFACTS)
    ).all()


def delete_expired(session: Session, artifact_id: str) -> int:
    """Deletes at most 50 expired versions of an artifact and returns their number; 0 while it is locked.

    None of them is linked: linking a version clears its expiry.
    """
    locked = select(Collection).where(Collection.id == artifact_id).with_for_update(skip_locked=True)
    artifact = session.scalar(locked.execution_options(populate_existing=True))
    if artifact is None:
        return 0
    expired = select(ArtifactVersion).where(ArtifactVersion.collection_id == artifact_id, *_expired(session))
    rows = session.scalars(expired.order_by(ArtifactVersion.number).limit(SWEEP_BATCH)).all()
    _delete_versions(session, SERVER, artifact, rows)
    return len(rows)


def remove_contents(session: Session) -> int:
    """Removes manifests and index entries that deletes left, as much as one transaction should.

    Returns the number of versions that are done; 50 if there may be more.
    """
    waiting = select(ManifestRemoval).order_by(ManifestRemoval.version_id).limit(SWEEP_BATCH)
    found = session.scalars(waiting.with_for_update(skip_locked=True)).all()
    room = bounded.ROWS
    for removal in found:
        own = VersionFile.version_id == removal.version_id
        room -= bounded.delete_some(session, VersionFile, own, limit=room)
        if room > 0:
            room -= attributes.remove_some(session, removal.version_id, limit=room)
        if room == 0:
            return SWEEP_BATCH
        session.delete(removal)
    return len(found)


def _delete_versions(
    session: Session, principal: Principal, artifact: Collection, rows: Sequence[ArtifactVersion]
) -> None:
    """Deletes versions of an artifact, all before any alias moves: `latest` moves to one that stays."""
    _make_tombstones(session, rows)
    session.flush()
    for version in rows:
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


def _make_tombstones(session: Session, rows: Sequence[ArtifactVersion]) -> None:
    """Marks versions as deleted and removes their manifests and index entries.

    Nothing reads those of a deleted version. If they are many, the sweep removes
    them in short transactions: this one keeps others from writing.
    """
    ids = [row.id for row in rows]
    # Counted only until they are too many: reading the metadata of all takes long.
    counts = accumulate(row.file_count + attributes.count(row) for row in rows)
    large = any(count > bounded.ROWS for count in counts)
    for batch in batches(ids):
        if large:
            insert_missing(session, ManifestRemoval, [{"version_id": id_} for id_ in sorted(batch)])
        else:
            session.execute(delete(VersionFile).where(VersionFile.version_id.in_(batch)))
    versions.mark_deleted(session, ids, keep_index=large)


def _lock_links(session: Session, version_ids: Sequence[str]) -> list[Link]:
    """The links of versions, with their registered models locked, so that none is added or removed."""
    found: list[Link] = []
    for batch in batches(sorted(version_ids)):
        query = select(Link).where(Link.version_id.in_(batch), Link.deleted_at.is_(None)).order_by(Link.id)
        found += session.scalars(query).all()
    collections.lock_collections(session, [link.collection_id for link in found])
    for link in found:
        session.refresh(link)  # it may have been deleted while this waited for the lock
    return [link for link in found if link.deleted_at is None]


def _delete_links(session: Session, principal: Principal, links: Sequence[Link]) -> None:
    registered_models.mark_unlinked(session, principal, links)
    for link in links:
        aliases.release(session, principal, session.get_one(Collection, link.collection_id), link)


def _expired(session: Session) -> Sequence[ColumnElement[bool]]:
    return (
        ArtifactVersion.expires_at <= now(session),
        ArtifactVersion.deleted_at.is_(None),
        ~exists().where(Link.version_id == ArtifactVersion.id, Link.deleted_at.is_(None)),
    )


def _refuse_linked(session: Session, principal: Principal, links: Sequence[Link]) -> None:
    """Raises VersionLinked if there are links; it names at most ten that the caller may see."""
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
    parts = [
        shown,
        f"{len(seen) - _NAMED} more" if len(seen) > _NAMED else "",
        f"{hidden} in entities that this key does not reach" if hidden else "",
    ]
    linked_to = " and ".join(filter(None, parts))
    raise errors.VersionLinked(f"linked to {linked_to}; unlink first", metadata={"links": shown})


def _refuse_aliased(session: Session, *conditions: ColumnElement[bool]) -> None:
    found = select(Alias.alias).where(*conditions).order_by(Alias.alias).limit(_NAMED)
    names = ", ".join(session.scalars(found))
    if names:
        raise errors.VersionHasAliases(
            f"has the aliases {names}; remove them first, or force the deletion", metadata={"aliases": names}
        )
