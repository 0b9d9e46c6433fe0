"""Versions of artifacts: resolving a reference, showing and changing them.

A reference is looked up by one statement from names to the version, built and
compiled once; `shown` adds to it what is shown around the version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Select,
    String,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard.contract.values import identical
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Entity, Id, Link, Project
from modelyard_server.db.upserts import batches
from modelyard_server.domain import events, fields
from modelyard_server.domain.access import authorize, owners
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import collections, expiry, not_found
from modelyard_server.domain.registry.collections import record_tags
from modelyard_server.domain.registry.full_names import Home, homes


class Resolved(NamedTuple):
    """What a reference stands for. `link` and `link_home` are set when it went through a registered model."""

    version: ArtifactVersion
    link: Link | None
    collection: Collection
    home: Home
    link_home: Home | None

    @property
    def through_link(self) -> str:
        """The full reference of the link; empty without one."""
        return self.link_home.ref(self.link.number) if self.link and self.link_home else ""


class LinkedTo(NamedTuple):
    """A link to a version, by its full reference."""

    id: str
    ref: str


class VersionView(NamedTuple):
    """A version with what the wire shows besides its row."""

    version: ArtifactVersion
    home: Home
    aliases: Sequence[str]
    linked_to: Sequence[LinkedTo]


# Tables rather than classes: a lookup has no use for the ORM's objects, which would cost half of it.
_V, _L, _A = (table.__table__ for table in (ArtifactVersion, Link, Alias))
_C, _P, _E = (table.__table__ for table in (Collection, Project, Entity))
_SC, _SP, _SE = _C.alias("source"), _P.alias("source_project"), _E.alias("source_entity")


def _looking_up(by_number: bool) -> Select[*tuple[Any, ...]]:
    """From entity, project, name and alias or number to the version, through a link where there is one."""
    wanted: BindParameter[Any] = bindparam("alias")
    start = _E.join(_P, _P.c.entity_id == _E.c.id).join(_C, _C.c.project_id == _P.c.id)
    own: ColumnElement[Any]
    linked: ColumnElement[bool]
    if by_number:
        inside = select(_V.c.id).where(_V.c.collection_id == _C.c.id, _V.c.number == wanted)
        own = inside.correlate(_C).scalar_subquery()
        linked = (_L.c.collection_id == _C.c.id) & (_L.c.number == wanted)
    else:
        start = start.outerjoin(_A, (_A.c.collection_id == _C.c.id) & (_A.c.alias == wanted))
        own, linked = _A.c.version_id, _L.c.id == _A.c.link_id
    target = func.coalesce(_L.c.version_id, own)
    return (
        select(
            _SE.c.name.label("source_entity"),
            _SP.c.name.label("source_project"),
            _SC.c.name.label("source_name"),
            _SC.c.type.label("source_type"),
            _SP.c.id.label("source_project_id"),
            _C.c.type.label("through_type"),
            _P.c.id.label("through_project_id"),
            _C.c.id.label("through_id"),
            _L.c.id.label("link_id"),
            _L.c.number.label("link_number"),
            *_V.c,
        )
        .select_from(
            start.outerjoin(_L, linked & _L.c.deleted_at.is_(None))
            .outerjoin(_V, (_V.c.id == target) & _V.c.deleted_at.is_(None))
            .outerjoin(_SC, _SC.c.id == _V.c.collection_id)
            .outerjoin(_SP, _SP.c.id == _SC.c.project_id)
            .outerjoin(_SE, _SE.c.id == _SP.c.entity_id)
        )
        .where(
            _E.c.name == bindparam("entity"),
            _P.c.name == bindparam("project"),
            _C.c.name == bindparam("name"),
            _C.c.deleted_at.is_(None),
        )
    )


RESOLVE = {by_number: _looking_up(by_number) for by_number in (False, True)}
"""By whether it goes by the number of a version, else by an alias."""

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


def resolve(session: Session, principal: Principal, ref: str, *, default_project: str = "") -> Resolved:
    """The version that a reference stands for now. Raises NotFound with the full reference, InvalidField."""
    row, home, through = find_row(
        session,
        principal,
        ref,
        default_project,
        lambda by_number, named: session.connection().execute(RESOLVE[by_number], named).one_or_none(),
    )
    return Resolved(
        session.get_one(ArtifactVersion, row.id),
        session.get_one(Link, row.link_id) if row.link_id else None,
        session.get_one(Collection, row.collection_id),
        home,
        through,
    )


def find_row(
    session: Session,
    principal: Principal,
    ref: str,
    default_project: str,
    first: Callable[[bool, Mapping[str, Any]], Any],
) -> tuple[Any, Home, Home | None]:
    """The row of a reference's version, its home, and that of the link it went through.

    `first` runs the statement of RESOLVE. Raises NotFound with the full reference, InvalidField.
    """
    parsed = fields.check("ref", refs.parse, ref)
    entity = parsed.entity or principal.entity
    project = parsed.project or default_project or refs.DEFAULT_PROJECT
    alias = parsed.alias or refs.LATEST
    by_number = parsed.number is not None
    row: Any = None
    if authorize.may_enter(session, principal, entity):
        named: dict[str, Any] = {"entity": entity, "project": project, "name": parsed.name}
        named["alias"] = parsed.number if by_number else alias
        row = first(by_number, named)
    found = row is not None and row.id is not None and expiry.is_live(session, row)
    if not found or not authorize.may_enter(session, principal, row.source_entity):
        wanted_ref = refs.Ref(entity, project, parsed.name, alias)
        raise not_found.version(session, principal, "version", wanted_ref)
    home = Home._make((*row[:5], row.collection_id))
    through = Home(entity, project, parsed.name, *row[5:8]) if row.link_id else None
    return row, home, through


def get(session: Session, principal: Principal, version_id: str) -> ArtifactVersion:
    """A version by id that is not deleted. Raises NotFound, InvalidField."""
    found = session.execute(
        select(ArtifactVersion, Entity.name)
        .join(Collection, Collection.id == ArtifactVersion.collection_id)
        .join(Project, Project.id == Collection.project_id)
        .join(Entity, Entity.id == Project.entity_id)
        .where(
            ArtifactVersion.id == fields.parse_id("version_id", version_id),
            ArtifactVersion.deleted_at.is_(None),
        )
    ).one_or_none()
    if (
        found is None
        or not authorize.may_enter(session, principal, found[1])
        or not expiry.is_live(session, found[0])
    ):
        raise owners.not_found("version", version_id)
    return found[0]


def find(session: Session, principal: Principal, version_id: str, ref: str) -> ArtifactVersion:
    """A version by the one of id and reference that is given. Raises NotFound, InvalidField."""
    if bool(version_id) == bool(ref):
        raise errors.InvalidField.of("ref", "give exactly one of the id and the ref")
    return get(session, principal, version_id) if version_id else resolve(session, principal, ref).version


def describe(
    session: Session, versions: Sequence[ArtifactVersion], *, principal: Principal | None = None
) -> list[VersionView]:
    """The views of versions, in a constant number of queries.

    Links in other entities are shown only to a principal who may enter them.
    """
    where = homes(session, [version.collection_id for version in versions])
    return _describe(session, versions, where, principal)


def links_of(
    session: Session, version_ids: Sequence[str], where: Mapping[str, str], principal: Principal | None
) -> tuple[dict[str, list[str]], dict[str, list[LinkedTo]]]:
    """Aliases, and links in the order of their name, by version; `where` is each version's entity."""
    aliases: dict[str, list[str]] = {}
    links: dict[str, list[LinkedTo]] = {}
    for batch in batches(version_ids):
        for version, name, link, entity, project, number in sorted(
            session.connection().execute(_AROUND, {"versions": list(batch)}).all(),
            key=lambda row: (row[1], row[4], row[5]),
        ):
            if link is None:
                aliases.setdefault(version, []).append(name)
            elif entity == where[version] or (principal and principal.may_enter(entity)):
                links.setdefault(version, []).append(LinkedTo(link, f"{entity}/{project}/{name}:v{number}"))
    return aliases, links


def update(
    session: Session,
    principal: Principal,
    version: ArtifactVersion,
    *,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    tags: Sequence[str] | None = None,
    expires_at: int | None = None,
    set_expiry: bool = False,
    prefix: str = "version.",
) -> None:
    """Changes what is given; `set_expiry` sets or clears the expiry. Raises VersionLinked, InvalidField."""
    artifact = collections.lock(session, session.get_one(Collection, version.collection_id))
    session.refresh(version)
    if not expiry.is_live(session, version):
        raise owners.not_found("version", version.id)
    place = {"version": f"v{version.number}", "version_id": version.id}
    before = (version.description, version.facts, version.expires_at)
    if description is not None:
        version.description = fields.check_description(f"{prefix}description", description)
    if metadata is not None:
        version.facts = fields.check_metadata(f"{prefix}metadata", metadata)
    if set_expiry:
        _set_expiry(session, version, expires_at, f"{prefix}expire_time")
    changed = not identical(before, (version.description, version.facts, version.expires_at))
    if changed:
        details = {"collection": artifact.name, **place}
        events.record(
            session, artifact.project_id, "version_updated", principal, collection_id=artifact.id, **details
        )
    if tags is not None:
        kept = fields.check_tags(f"{prefix}tags", tags)
        record_tags(session, principal, artifact, version.tags, kept, **place)
        changed = changed or kept != version.tags
        version.tags = kept
    if changed:
        version.updated_at = now(session)


def _set_expiry(session: Session, version: ArtifactVersion, expires_at: int | None, field: str) -> None:
    if expires_at is not None:
        if expires_at <= now(session):
            raise errors.InvalidField.of(field, "is not in the future")
        linked = session.scalar(
            select(Link.id).where(Link.version_id == version.id, Link.deleted_at.is_(None)).limit(1)
        )
        if linked is not None:
            raise errors.VersionLinked(
                "a version that is linked does not expire; unlink it first", metadata={"link": linked}
            )
    version.expires_at = expires_at


def _describe(
    session: Session,
    versions: Sequence[ArtifactVersion],
    where: Mapping[str, Home],
    principal: Principal | None,
) -> list[VersionView]:
    entities = {version.id: where[version.collection_id].entity for version in versions}
    aliases, links = links_of(session, list(entities), entities, principal)
    return [
        VersionView(
            version, where[version.collection_id], aliases.get(version.id, ()), links.get(version.id, ())
        )
        for version in versions
    ]
