"""Versions of artifacts: resolving a reference, showing and changing them.

Resolving is what services call most: one statement from names to the version,
one more for what is shown around it. The statements are built once, so that
SQLAlchemy compiles them once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    String,
    and_,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from modelyard import errors, refs
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Entity, Id, Link, Project
from modelyard_server.db.upserts import batches
from modelyard_server.domain import catalog, events, fields, owners
from modelyard_server.domain.homes import Home, homes
from modelyard_server.domain.principals import Principal
from modelyard_server.domain.uploads import parse_id


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


_Source, _SourceProject, _SourceEntity = aliased(Collection), aliased(Project), aliased(Entity)


def _resolving(by_number: bool) -> Any:
    """From entity, project, name and alias or number to the version, through a link where there is one."""
    statement = (
        select(
            Collection.id,
            Collection.type,
            Project.id,
            _SourceProject.id,
            _SourceProject.name,
            _SourceEntity.name,
            ArtifactVersion,
            Link,
            _Source,
        )
        .select_from(Entity)
        .join(Project, Project.entity_id == Entity.id)
        .join(Collection, Collection.project_id == Project.id)
    )
    own: Any
    if by_number:
        own = (
            select(ArtifactVersion.id)
            .where(
                ArtifactVersion.collection_id == Collection.id, ArtifactVersion.number == bindparam("alias")
            )
            .correlate(Collection)
            .scalar_subquery()
        )
        linked = and_(Link.collection_id == Collection.id, Link.number == bindparam("alias"))
    else:
        statement = statement.outerjoin(
            Alias, and_(Alias.collection_id == Collection.id, Alias.alias == bindparam("alias"))
        )
        own, linked = Alias.version_id, Link.id == Alias.link_id
    target = _aliased_version_id(own)
    return (
        statement.outerjoin(Link, and_(linked, Link.deleted_at.is_(None)))
        .outerjoin(ArtifactVersion, and_(ArtifactVersion.id == target, ArtifactVersion.deleted_at.is_(None)))
        .outerjoin(_Source, _Source.id == ArtifactVersion.collection_id)
        .outerjoin(_SourceProject, _SourceProject.id == _Source.project_id)
        .outerjoin(_SourceEntity, _SourceEntity.id == _SourceProject.entity_id)
        .where(
            Entity.name == bindparam("entity"),
            Project.name == bindparam("project"),
            Collection.name == bindparam("name"),
            Collection.deleted_at.is_(None),
        )
    )


def _aliased_version_id(own: Any) -> ColumnElement[Any]:
    return func.coalesce(Link.version_id, own)


_BY_ALIAS, _BY_NUMBER = _resolving(by_number=False), _resolving(by_number=True)

_AROUND: CompoundSelect[*tuple[Any, ...]] = union_all(
    select(
        Alias.version_id.label("version"),
        Alias.alias.label("name"),
        cast(null(), Id).label("id"),
        literal("", String).label("entity"),
        literal("", String).label("project"),
        literal(-1, BigInteger).label("number"),
    ).where(Alias.version_id.in_(bindparam("versions", expanding=True))),
    select(Link.version_id, Collection.name, Link.id, Entity.name, Project.name, Link.number)
    .join(Collection, Collection.id == Link.collection_id)
    .join(Project, Project.id == Collection.project_id)
    .join(Entity, Entity.id == Project.entity_id)
    .where(Link.version_id.in_(bindparam("versions", expanding=True)), Link.deleted_at.is_(None)),
)


def resolve(session: Session, principal: Principal, ref: str, *, default_project: str = "") -> Resolved:
    """The version that a reference stands for now. Raises NotFound with the full reference, InvalidField."""
    parsed = owners.field("ref", refs.parse, ref)
    entity = parsed.entity or principal.entity
    project = parsed.project or default_project or refs.DEFAULT_PROJECT
    alias, number = parsed.alias or refs.LATEST, parsed.number
    row = None
    if principal.may_enter(entity):
        row = session.execute(
            _BY_ALIAS if number is None else _BY_NUMBER,
            {
                "entity": entity,
                "project": project,
                "name": parsed.name,
                "alias": alias if number is None else number,
            },
        ).one_or_none()
    if row is None or row[6] is None or not principal.may_enter(row[5]):
        raise owners.not_found("version", f"{entity}/{project}/{parsed.name}:{alias}")
    (
        collection_id,
        type_,
        project_id,
        source_project_id,
        source_project,
        source_entity,
        version,
        link,
        source,
    ) = row
    home = Home(source_entity, source_project, source.name, source.type, source_project_id, source.id)
    through = Home(entity, project, parsed.name, type_, project_id, collection_id) if link else None
    return Resolved(version, link, source, home, through)


def get(session: Session, principal: Principal, version_id: str) -> ArtifactVersion:
    """A version by id that is not deleted. Raises NotFound, InvalidField."""
    found = session.execute(
        select(ArtifactVersion, Entity.name)
        .join(Collection, Collection.id == ArtifactVersion.collection_id)
        .join(Project, Project.id == Collection.project_id)
        .join(Entity, Entity.id == Project.entity_id)
        .where(ArtifactVersion.id == parse_id("version_id", version_id), ArtifactVersion.deleted_at.is_(None))
    ).one_or_none()
    if found is None or not principal.may_enter(found[1]):
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


def describe_resolved(session: Session, resolved: Resolved, principal: Principal) -> VersionView:
    """The view of a version that was just resolved, whose names are known already."""
    where = {resolved.collection.id: resolved.home}
    return _describe(session, [resolved.version], where, principal)[0]


def links_of(
    session: Session, version_ids: Sequence[str], where: Mapping[str, str], principal: Principal | None
) -> tuple[dict[str, list[str]], dict[str, list[LinkedTo]]]:
    """Aliases, and links in the order of their name, by version; `where` is each version's entity."""
    aliases: dict[str, list[str]] = {}
    links: dict[str, list[LinkedTo]] = {}
    for batch in batches(version_ids):
        for version, name, link, entity, project, number in sorted(
            session.execute(_AROUND, {"versions": list(batch)}).all(),
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
    artifact = catalog.lock(session, session.get_one(Collection, version.collection_id))
    session.refresh(version)
    if version.deleted_at is not None:
        raise owners.not_found("version", version.id)
    place = {"version": f"v{version.number}", "version_id": version.id}
    before = (version.description, version.facts, version.expires_at)
    if description is not None:
        version.description = fields.check_description(f"{prefix}description", description)
    if metadata is not None:
        version.facts = fields.check_metadata(f"{prefix}metadata", metadata)
    if set_expiry:
        _set_expiry(session, version, expires_at, f"{prefix}expire_time")
    changed = before != (version.description, version.facts, version.expires_at)
    if changed:
        details = {"collection": artifact.name, **place}
        events.record(
            session, artifact.project_id, "version_updated", principal, collection_id=artifact.id, **details
        )
    if tags is not None:
        kept = fields.check_tags(f"{prefix}tags", tags)
        catalog.record_tags(session, principal, artifact, version.tags, kept, **place)
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
