"""Collections: numbers, links, aliases, and the owners that rows repeat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy import Select, Table, and_, func, or_, select

from modelyard_server.db import tables
from modelyard_server.fsck import touched
from modelyard_server.fsck.findings import Touched
from modelyard_server.fsck.scan import Scan

_C, _V, _L, _A, _P, _R = (
    cast(Table, row.__table__)
    for row in (
        tables.Collection,
        tables.ArtifactVersion,
        tables.Link,
        tables.Alias,
        tables.Project,
        tables.Run,
    )
)
_ALIASES = (
    select(
        _A.c.collection_id,
        _A.c.alias,
        _V.c.collection_id,
        _V.c.deleted_at,
        _L.c.collection_id,
        _L.c.deleted_at,
    )
    .outerjoin_from(_A, _V, _V.c.id == _A.c.version_id)
    .outerjoin(_L, _L.c.id == _A.c.link_id)
)
_BROKEN_LINKS = (
    select(_L.c.id, _L.c.collection_id, _L.c.number, _L.c.version_id)
    .join_from(_L, _V, _V.c.id == _L.c.version_id)
    .where(_L.c.deleted_at.is_(None), _V.c.deleted_at.is_not(None))
)


def check(scan: Scan) -> None:
    """Checks every collection with its versions or links, and every alias."""
    scan.result.examined += scan.session.execute(select(func.count()).select_from(_C)).scalar_one()
    for table, kind in ((_V, "artifact"), (_L, "model")):
        _check_numbers(scan, table)
        _check_places(scan, table, kind)
    for table in (_V, _L, _A):
        _check_owners(scan, table)
    for id_, entity_id, wanted in scan.rows(_run_owners()):
        about = {"table": "run", "id": id_}
        scan.add("owner_wrong", f"a run is of the entity {entity_id}, its project of {wanted}", about)
    for id_, collection_id, number, version_id in scan.rows(_BROKEN_LINKS):
        about = {"link_id": id_, "collection_id": collection_id, "version_id": version_id}
        scan.add("link_broken", f"the link v{number} points at a deleted version", about)
    _check_aliases(scan)


def _check_numbers(scan: Scan, table: Table) -> None:
    repeated = (
        select(table.c.collection_id, table.c.number, func.count())
        .group_by(table.c.collection_id, table.c.number)
        .having(func.count() > 1)
    )
    for collection_id, number, count in scan.rows(repeated):
        about = {"table": table.name, "collection_id": collection_id, "number": number}
        scan.add("number_repeated", f"{count} rows have the number v{number}", about)
    ahead = (
        select(_C.c.id, _C.c.next_version, func.max(table.c.number))
        .join_from(_C, table, table.c.collection_id == _C.c.id)
        .group_by(_C.c.id, _C.c.next_version)
        .having(func.max(table.c.number) >= _C.c.next_version)
    )
    for collection_id, next_version, largest in scan.rows(ahead):
        about = {"collection_id": collection_id, "next_version": next_version}
        what = f"the collection has v{largest}, and its next number is {next_version}"
        scan.add("number_ahead", what, about)


def _check_places(scan: Scan, table: Table, kind: str) -> None:
    wrong = (
        select(table.c.id, table.c.number, _C.c.id, _C.c.kind)
        .join_from(table, _C, _C.c.id == table.c.collection_id)
        .where(or_(_C.c.kind != kind, and_(_C.c.deleted_at.is_not(None), table.c.deleted_at.is_(None))))
    )
    for id_, number, collection_id, found in scan.rows(wrong):
        what = f"in a collection of the kind {found}" if found != kind else "in a deleted collection"
        about = {"table": table.name, "id": id_, "collection_id": collection_id}
        touching = touched.by_version(scan.session, id_) if table is _V else Touched()
        scan.add("collection_wrong", f"v{number} is {what}", about, touching)


def _check_owners(scan: Scan, table: Table) -> None:
    key = list(table.primary_key)
    wrong: Select[Any] = (
        select(table.c.collection_id, table.c.project_id, table.c.entity_id, *key)
        .join_from(table, _C, _C.c.id == table.c.collection_id)
        .join(_P, _P.c.id == _C.c.project_id)
        .where(or_(table.c.project_id != _C.c.project_id, table.c.entity_id != _P.c.entity_id))
    )
    for row in scan.rows(wrong):
        about = {"table": table.name, **{part.name: value for part, value in zip(key, row[3:], strict=True)}}
        what = f"it names the project {row[1]} and the entity {row[2]}, which are not its collection's"
        scan.add("owner_wrong", what, about)


def _run_owners() -> Select[Any]:
    return (
        select(_R.c.id, _R.c.entity_id, _P.c.entity_id)
        .join_from(_R, _P, _P.c.id == _R.c.project_id)
        .where(_R.c.entity_id != _P.c.entity_id)
    )


def _check_aliases(scan: Scan) -> None:
    for collection_id, alias, *targets in scan.rows(_ALIASES):
        problem = next(_alias_problems(collection_id, *targets), "")
        if problem:
            about = {"collection_id": collection_id, "alias": alias}
            scan.add("alias_wrong", f"the alias {alias!r} {problem}", about)


def _alias_problems(
    own: str, version_of: str | None, version_gone: int | None, link_of: str | None, link_gone: int | None
) -> Iterator[str]:
    if (version_of is None) == (link_of is None):
        yield "points at no version, or at two"
    elif (version_of or link_of) != own:
        yield "points into another collection"
    elif version_gone is not None or link_gone is not None:
        yield "points at a deleted version"
