"""Many ids and refs of versions at once: as `resolve`, in a constant number of statements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.contract.limits import PAGE_ITEMS
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Entity, Link, Project
from modelyard_server.db.upserts import batches
from modelyard_server.domain import fields
from modelyard_server.domain.access.authorize import Action, authorize
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import versions
from modelyard_server.domain.registry.full_names import FullName, full_names
from modelyard_server.domain.registry.resolve import ParsedRef, Resolved
from modelyard_server.domain.registry.versions import VersionView

_Path: TypeAlias = tuple[str, str, str]
"""Entity, project and name of a collection."""


class VersionRequest(NamedTuple):
    """The id or the ref of a version, whichever is not empty."""

    id: str
    ref: str


class _Place(NamedTuple):
    """A collection, and an alias or a number in it."""

    collection: str
    at: str | int


def versions_of(
    session: Session, principal: Principal, wanted: Sequence[VersionRequest]
) -> list[Resolved | None]:
    """The version of each request, in order; None if it was not found. Raises InvalidField."""
    if len(wanted) > PAGE_ITEMS:
        raise errors.InvalidField.of("requests", f"has {len(wanted)} entries; at most {PAGE_ITEMS}")
    ids = [_id(index, one) for index, one in enumerate(wanted)]
    parsed = [None if id_ else _parse(session, principal, i, wanted[i].ref) for i, id_ in enumerate(ids)]
    collections = _collections(session, {_path(ref) for ref in parsed if ref})
    places = [_place(collections, ref) for ref in parsed]
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
    names = full_names(session, [link.collection_id for link in links.values()])
    return [
        _resolved(views.get(version_id) if version_id else None, link, names)
        for version_id, link in zip(version_ids, through, strict=True)
    ]


def _id(index: int, one: VersionRequest) -> str | None:
    if bool(one.id) == bool(one.ref):
        raise errors.InvalidField.of(f"requests[{index}]", "give exactly one of id and ref")
    return fields.parse_id(f"requests[{index}].id", one.id) if one.id else None


def _parse(session: Session, principal: Principal, index: int, ref: str) -> ParsedRef | None:
    parsed = ParsedRef.parse(principal, ref, field=f"requests[{index}].ref")
    return parsed if authorize(session, principal, Action.READ, parsed.resource) else None


def _path(ref: ParsedRef) -> _Path:
    return ref.entity, ref.project, ref.name


def _place(collections: Mapping[_Path, str], ref: ParsedRef | None) -> _Place | None:
    collection = collections.get(_path(ref)) if ref else None
    if ref is None or collection is None:
        return None
    return _Place(collection, ref.alias if ref.number is None else ref.number)


def _collections(session: Session, paths: set[_Path]) -> dict[_Path, str]:
    """The ids of live collections by entity, project and name."""
    owned = {path[:2] for path in paths}
    projects: dict[tuple[str, str], int] = {}
    for batch in batches(sorted(owned)):
        query = (
            select(Entity.name, Project.name, Project.id)
            .join(Project, Project.entity_id == Entity.id)
            .where(tuple_(Entity.name, Project.name).in_(batch))
        )
        projects |= {(entity, project): id_ for entity, project, id_ in session.execute(query)}
    keys = {(projects[path[:2]], path[2]): path for path in paths if path[:2] in projects}
    found: dict[_Path, str] = {}
    for key in batches(sorted(keys)):
        rows = session.execute(
            select(Collection.project_id, Collection.name, Collection.id).where(
                tuple_(Collection.project_id, Collection.name).in_(key), Collection.deleted_at.is_(None)
            )
        )
        found |= {keys[project, name]: id_ for project, name, id_ in rows}
    return found


def _targets(session: Session, places: set[_Place]) -> dict[_Place, tuple[str | None, str | None]]:
    """The ids of the link and of the version at each place, of which one is None."""
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
    live = [row for row in _by_id(session, ArtifactVersion, ids) if versions.is_live(session, row)]
    views = versions.describe(session, principal, live)
    return {
        view.version.id: view
        for view in views
        if authorize(session, principal, Action.READ, view.full_name.resource)
    }


def _by_id(session: Session, table: Any, ids: Iterable[str]) -> list[Any]:
    found: list[Any] = []
    for batch in batches(sorted(ids)):
        found += session.scalars(select(table).where(table.id.in_(batch), table.deleted_at.is_(None)))
    return found


def _resolved(view: VersionView | None, link: Link | None, names: Mapping[str, FullName]) -> Resolved | None:
    if view is None:
        return None
    return Resolved(view, names[link.collection_id].ref(link.number) if link else "")
