"""Many references and ids at once, in a constant number of queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Entity, Link, Project
from modelyard_server.db.upserts import batches
from modelyard_server.domain import fields
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import expiry, versions
from modelyard_server.domain.registry.full_names import Home, homes
from modelyard_server.domain.registry.versions import VersionView

LIMIT = 1000


class Wanted(NamedTuple):
    """An id or a reference, whichever is not empty."""

    id: str
    ref: str


class Found(NamedTuple):
    """What it stands for now; None where there is nothing, or nothing the caller may read."""

    view: VersionView | None
    through_link: str


class _Name(NamedTuple):
    entity: str
    project: str
    name: str


class _Place(NamedTuple):
    """A collection and an alias or a number in it."""

    collection: str
    at: str | int


def get(session: Session, principal: Principal, wanted: Sequence[Wanted]) -> list[Found]:
    """An answer for each, in order. Raises InvalidField."""
    if len(wanted) > LIMIT:
        raise errors.InvalidField.of("requests", f"has {len(wanted)} entries; at most {LIMIT}")
    ids = [_id(index, one) for index, one in enumerate(wanted)]
    parsed = [None if id_ else _parse(principal, i, wanted[i].ref) for i, id_ in enumerate(ids)]
    collections = _collections(session, {name for name, _ in filter(None, parsed)})
    places = [_place(collections, one) for one in parsed]
    targets = _targets(session, {place for place in places if place})
    links = _links(session, {link for link, _ in targets.values() if link})
    version_ids: list[str | None] = []
    through: list[Link | None] = []
    for id_, place in zip(ids, places, strict=True):
        link_id, version_id = targets.get(place, (None, None)) if place else (None, id_)
        link = links.get(link_id) if link_id else None
        through.append(link)
        version_ids.append(link.version_id if link else version_id)
    views = _views(session, principal, {each for each in version_ids if each})
    where = homes(session, [link.collection_id for link in links.values()])
    return [
        _found(views.get(version_id) if version_id else None, link, where)
        for version_id, link in zip(version_ids, through, strict=True)
    ]


def _id(index: int, one: Wanted) -> str | None:
    if bool(one.id) == bool(one.ref):
        raise errors.InvalidField.of(f"requests[{index}]", "give exactly one of id and ref")
    return fields.parse_id(f"requests[{index}].id", one.id) if one.id else None


def _parse(principal: Principal, index: int, ref: str) -> tuple[_Name, str | int]:
    parsed = fields.check(f"requests[{index}].ref", refs.parse, ref)
    entity, project = parsed.entity or principal.entity, parsed.project or refs.DEFAULT_PROJECT
    at = parsed.number if parsed.number is not None else parsed.alias or refs.LATEST
    return _Name(entity if principal.may_enter(entity) else "", project, parsed.name), at


def _place(collections: Mapping[_Name, str], parsed: tuple[_Name, str | int] | None) -> _Place | None:
    collection = collections.get(parsed[0]) if parsed else None
    return _Place(collection, parsed[1]) if parsed and collection else None


def _collections(session: Session, names: set[_Name]) -> dict[_Name, str]:
    """The collections of these names, by their full name."""
    owned = {(name.entity, name.project) for name in names}
    projects: dict[tuple[str, str], int] = {}
    for batch in batches(sorted(owned)):
        query = (
            select(Entity.name, Project.name, Project.id)
            .join(Project, Project.entity_id == Entity.id)
            .where(tuple_(Entity.name, Project.name).in_(batch))
        )
        projects |= {(entity, project): id_ for entity, project, id_ in session.execute(query)}
    keys = {(projects[name[:2]], name.name): name for name in names if name[:2] in projects}
    found: dict[_Name, str] = {}
    for key in batches(sorted(keys)):
        rows = session.execute(
            select(Collection.project_id, Collection.name, Collection.id).where(
                tuple_(Collection.project_id, Collection.name).in_(key), Collection.deleted_at.is_(None)
            )
        )
        found |= {keys[project, name]: id_ for project, name, id_ in rows}
    return found


def _targets(session: Session, places: set[_Place]) -> dict[_Place, tuple[str | None, str | None]]:
    """The link or the version at each place."""
    found: dict[_Place, tuple[str | None, str | None]] = {}
    for batch in batches(sorted(place for place in places if isinstance(place.at, str))):
        standing = select(Alias).where(tuple_(Alias.collection_id, Alias.alias).in_(batch))
        for alias in session.scalars(standing):
            found[_Place(alias.collection_id, alias.alias)] = (alias.link_id, alias.version_id)
    for batch in batches(sorted(place for place in places if isinstance(place.at, int))):
        for table in (Link, ArtifactVersion):
            rows = session.execute(
                select(table.collection_id, table.number, table.id).where(
                    tuple_(table.collection_id, table.number).in_(batch)
                )
            )
            for collection, number, id_ in rows:
                found[_Place(collection, number)] = (id_, None) if table is Link else (None, id_)
    return found


def _links(session: Session, ids: set[str]) -> dict[str, Link]:
    live = _by_id(session, Link, ids)
    return {link.id: link for link in live}


def _views(session: Session, principal: Principal, ids: set[str]) -> dict[str, VersionView]:
    live = [version for version in _by_id(session, ArtifactVersion, ids) if expiry.is_live(session, version)]
    views = versions.describe(session, live, principal=principal)
    return {view.version.id: view for view in views if principal.may_enter(view.home.entity)}


def _by_id(session: Session, table: Any, ids: Iterable[str]) -> list[Any]:
    found: list[Any] = []
    for batch in batches(sorted(ids)):
        found += session.scalars(select(table).where(table.id.in_(batch), table.deleted_at.is_(None)))
    return found


def _found(view: VersionView | None, link: Link | None, where: Mapping[str, Home]) -> Found:
    if view is None or link is None:
        return Found(view, "")
    return Found(view, where[link.collection_id].ref(link.number))
