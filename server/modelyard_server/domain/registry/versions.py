"""Versions of artifacts: whether they are live, what replies show of them, and their updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    String,
    bindparam,
    cast,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from modelyard.contract import errors, values
from modelyard.contract.values import identical
from modelyard_server.db import attributes
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Entity, Id, Link, Project
from modelyard_server.db.upserts import batches
from modelyard_server.domain import etags, events, fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, Resource, authorize
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import collections
from modelyard_server.domain.registry.collections import record_tags
from modelyard_server.domain.registry.full_names import FullName, full_names


class LinkedTo(NamedTuple):
    """A link to a version, by its full ref."""

    id: str
    ref: str


class VersionView(NamedTuple):
    """A version with its names, aliases and links, as replies have it."""

    version: ArtifactVersion
    full_name: FullName
    aliases: Sequence[str]
    linked_to: Sequence[LinkedTo]


_V: Any = ArtifactVersion.__table__
_A, _L, _C, _P, _E = (table.__table__ for table in (Alias, Link, Collection, Project, Entity))
_INSERT = _V.insert()
_MARK_DELETED = (
    _V.update()
    .where(_V.c.id.in_(bindparam("versions", expanding=True)))
    .values(deleted_at=bindparam("time"), expires_at=null())
)
_AROUND: CompoundSelect[*tuple[Any, ...]] = union_all(
    select(
        _A.c.version_id.label("version"),
        _A.c.alias.label("name"),
        cast(null(), Id).label("id"),
        literal("", String).label("entity"),
        literal("", String).label("project"),
        literal(-1, BigInteger).label("number"),
    ).where(_A.c.version_id.in_(bindparam("versions", expanding=True))),
    select(_L.c.version_id, _C.c.name, _L.c.id, _E.c.name, _P.c.name, _L.c.number)
    .join(_C, _C.c.id == _L.c.collection_id)
    .join(_P, _P.c.id == _C.c.project_id)
    .join(_E, _E.c.id == _P.c.entity_id)
    .where(_L.c.version_id.in_(bindparam("versions", expanding=True)), _L.c.deleted_at.is_(None)),
)


def is_live(session: Session, version: ArtifactVersion | Any) -> bool:
    """Whether a version, or a plain row of one, is neither deleted nor expired.

    The clock is read only if the version has an expiry.
    """
    expires_at = version.expires_at
    return version.deleted_at is None and (expires_at is None or expires_at > now(session))


def live(session: Session) -> ColumnElement[bool]:
    """`is_live` as a condition on `artifact_version`."""
    return ArtifactVersion.deleted_at.is_(None) & or_(
        ArtifactVersion.expires_at.is_(None), ArtifactVersion.expires_at > now(session)
    )


def insert(session: Session, values: dict[str, Any]) -> ArtifactVersion:
    """Stores a new version and its entries in the search index; returns an object outside the session.

    A plain statement: flushing an object takes longer than all the rest of a small commit.
    """
    session.execute(_INSERT, values)
    version = ArtifactVersion(**values)
    attributes.add(session, version)
    return version


def mark_deleted(session: Session, version_ids: Sequence[str], *, keep_index: bool) -> None:
    """Marks versions as deleted, and removes their index entries unless `keep_index`."""
    for batch in batches(version_ids):
        session.execute(_MARK_DELETED, {"versions": batch, "time": now(session)})
    if not keep_index:
        attributes.remove(session, version_ids)


def lock(session: Session, found: ArtifactVersion) -> tuple[Collection, ArtifactVersion]:
    """The artifact of a version that was resolved, locked, and the version as it is then. Raises NotFound."""
    artifact = collections.lock(session, found.collection_id)
    return artifact, reload(session, found)


def reload(session: Session, found: ArtifactVersion) -> ArtifactVersion:
    """The version as it is now. Raises NotFound if it was deleted or has expired since it was resolved."""
    version = session.get(ArtifactVersion, found.id, populate_existing=True)
    if version is None or not is_live(session, version):
        raise owners.not_found("version", found.id)
    return version


def link_of(session: Session, version: ArtifactVersion) -> str | None:
    """The id of one link to the version; None if it is not linked."""
    links = select(Link.id).where(Link.version_id == version.id, Link.deleted_at.is_(None))
    return session.scalar(links.limit(1))


def describe(
    session: Session, principal: Principal, versions: Sequence[ArtifactVersion]
) -> list[VersionView]:
    """The views of versions with the links that the caller may see, in a constant number of statements."""
    names = full_names(session, [version.collection_id for version in versions])
    aliases, links = links_of(session, principal, [version.id for version in versions])
    return [
        VersionView(
            version, names[version.collection_id], aliases.get(version.id, ()), links.get(version.id, ())
        )
        for version in versions
    ]


def links_of(
    session: Session, principal: Principal, version_ids: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, list[LinkedTo]]]:
    """Aliases, and the links that the caller may see in the order of their name, by version."""
    aliases: dict[str, list[str]] = {}
    links: dict[str, list[LinkedTo]] = {}
    for batch in batches(version_ids):
        for version, name, link, entity, project, number in sorted(
            session.connection().execute(_AROUND, {"versions": list(batch)}).all(),
            key=lambda row: (row[1], row[4], row[5]),
        ):
            if link is None:
                aliases.setdefault(version, []).append(name)
            elif authorize(session, principal, Action.READ, Resource(entity, project)):
                links.setdefault(version, []).append(LinkedTo(link, f"{entity}/{project}/{name}:v{number}"))
    return aliases, links


def update(
    session: Session,
    principal: Principal,
    found: ArtifactVersion,
    *,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    metadata_entries: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    tags: Sequence[str] | None = None,
    expires_at: int | None = None,
    set_expiry: bool = False,
    etag: str = "",
) -> ArtifactVersion:
    """The version after changing what is given; `set_expiry` sets or clears the expiry.

    `metadata` replaces all of it; `metadata_entries` has the new value of a key in a
    list, which is empty to remove the key.
    Raises EtagMismatch, VersionLinked, NotFound, InvalidField.
    """
    artifact, version = lock(session, found)
    etags.check("version.etag", etag, etags.of_version, version)
    place = {"version": f"v{version.number}", "version_id": version.id}
    before = (version.description, version.metadata_, version.expires_at)
    if description is not None:
        version.description = fields.check_description("version.description", description)
    if metadata is not None or metadata_entries:
        changed_metadata = _changed_metadata(version, metadata, metadata_entries)
        version.metadata_ = fields.check_metadata("version.metadata", changed_metadata)
    if set_expiry:
        _set_expiry(session, version, expires_at, "version.expire_time")
    changed = not identical(before, (version.description, version.metadata_, version.expires_at))
    if changed:
        details = {"collection": artifact.name, **place}
        events.record(
            session, artifact.project_id, "version_updated", principal, collection_id=artifact.id, **details
        )
    if tags is not None:
        kept = fields.check_tags("version.tags", tags)
        record_tags(session, principal, artifact, version.tags, kept, **place)
        changed = changed or kept != version.tags
        version.tags = kept
    if changed:
        etags.renew(session, version)
    return version


def _changed_metadata(
    version: ArtifactVersion, metadata: Mapping[str, Any] | None, entries: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """The metadata given, else that of the version, with the changes of single keys."""
    if metadata is None:
        metadata = {key: values.from_json(item) for key, item in version.metadata_.items()}
    kept = {key: value for key, value in metadata.items() if key not in entries}
    return kept | {key: entry[0] for key, entry in entries.items() if entry}


def _set_expiry(session: Session, version: ArtifactVersion, expires_at: int | None, field: str) -> None:
    if expires_at is not None:
        if expires_at <= now(session):
            raise errors.InvalidField.of(field, "is not in the future")
        linked = link_of(session, version)
        if linked is not None:
            raise errors.VersionLinked(
                "a version that is linked does not expire; unlink it first", metadata={"link": linked}
            )
    version.expires_at = expires_at
