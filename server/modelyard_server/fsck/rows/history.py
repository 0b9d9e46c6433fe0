"""Events: numbered without gaps, and in agreement with the rows that they tell of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy import Table, and_, func, select

from modelyard_server.db import tables
from modelyard_server.fsck.scan import Groups, Scan

_P, _EV, _C, _V, _L, _A = (
    cast(Table, row.__table__)
    for row in (
        tables.Project,
        tables.Event,
        tables.Collection,
        tables.ArtifactVersion,
        tables.Link,
        tables.Alias,
    )
)
_COUNTS = (
    select(
        _P.c.id, _P.c.name, _P.c.event_seq, func.count(_EV.c.seq), func.min(_EV.c.seq), func.max(_EV.c.seq)
    )
    .outerjoin_from(_P, _EV, _EV.c.project_id == _P.c.id)
    .group_by(_P.c.id, _P.c.name, _P.c.event_seq)
)
_MADE = {"artifact": "version_created", "model": "linked"}
_ENDED = {"artifact": "version_deleted", "model": "unlinked"}
_TOLD = (
    *("alias_added", "alias_removed", "collection_created", "collection_deleted"),
    *_MADE.values(),
    *_ENDED.values(),
)
_EVENTS = (
    select(_EV.c.collection_id, _EV.c.type, _EV.c.details, _EV.c.project_id)
    .where(_EV.c.collection_id.is_not(None), _EV.c.type.in_(_TOLD))
    .order_by(_EV.c.collection_id, _EV.c.seq)
)
_COLLECTIONS = select(
    _C.c.id, _C.c.kind, _C.c.name, _C.c.next_version, _C.c.project_id, _C.c.deleted_at
).order_by(_C.c.id)
_NUMBERS = {
    kind: select(table.c.collection_id, table.c.number, table.c.deleted_at).order_by(
        table.c.collection_id, table.c.number
    )
    for kind, table in (("artifact", _V), ("model", _L))
}
_ALIASES = (
    select(_A.c.collection_id, _A.c.alias, func.coalesce(_V.c.number, _L.c.number))
    .outerjoin_from(_A, _V, _V.c.id == _A.c.version_id)
    .outerjoin(_L, _L.c.id == _A.c.link_id)
    .order_by(_A.c.collection_id, _A.c.alias)
)
SHOWN = 10
"""Differences that are named of one collection."""


class _Told:
    """What the events of a collection say: which numbers live, and where its aliases stand."""

    def __init__(self, kind: str, numbers: int) -> None:
        self._made, self._ended = _MADE[kind], _ENDED[kind]
        self.live = bytearray(numbers)
        self.is_deleted = False
        self.aliases: dict[str, int] = {}

    def apply(self, type_: str, details: Any) -> None:
        """Takes the next event. Raises KeyError, IndexError, ValueError for one that makes no sense."""
        if type_ in ("collection_created", "collection_deleted"):
            self.is_deleted = type_ == "collection_deleted"
            self.live = bytearray(len(self.live))  # one is created again after it was deleted
        elif type_ == "alias_removed":
            self.aliases.pop(details["alias"], None)
        elif type_ == "alias_added":
            self.aliases[details["alias"]] = _number(details)
        elif type_ in (self._made, self._ended):
            self.live[_number(details)] = type_ == self._made


def check(scan: Scan) -> None:
    """Checks the numbers of events, and what the last ones say of versions, links and aliases."""
    for id_, name, counter, count, first, last in scan.rows(_COUNTS):
        scan.result.examined += count
        if (count, first or 1, last or 0) != (counter, 1, counter):
            what = f"the project {name!r} has {count} events, {first} to {last}, and counted {counter}"
            scan.add("event_gap", what, {"project_id": id_, "first_missing": _missing(scan, id_, counter)})
    events, aliases = Groups(scan.rows(_EVENTS)), Groups(scan.rows(_ALIASES))
    numbers = {kind: Groups(scan.rows(statement)) for kind, statement in _NUMBERS.items()}
    for collection in scan.rows(_COLLECTIONS):
        id_, kind, name, *_ = collection
        differences = _differences(collection, events, numbers[kind], aliases)
        for what in [next_ for next_, _ in zip(differences, range(SHOWN), strict=False)]:
            scan.add("history_differs", f"{name}: {what}", {"collection_id": id_})


def _differences(collection: Any, events: Groups, numbers: Groups, aliases: Groups) -> Iterator[str]:
    id_, kind, _, count, project_id, deleted_at = collection
    told = _Told(kind, count)
    for _, type_, details, where in events.take(id_):
        try:
            told.apply(type_, details)
        except (KeyError, IndexError, ValueError, TypeError):
            yield f"an event {type_} says {str(details)[:200]}, which names no version of it"
        if where != project_id:
            yield f"an event {type_} is in another project"
    if told.is_deleted != (deleted_at is not None):
        yield _state("it", deleted_at)
    for _, number, deleted_at in numbers.take(id_):
        if number < count and bool(told.live[number]) != (deleted_at is None):
            yield _state(f"v{number}", deleted_at)
    standing = {alias: number for _, alias, number in aliases.take(id_)}
    for alias in sorted(standing.keys() | told.aliases.keys()):
        if standing.get(alias) != told.aliases.get(alias):
            at, says = (_shown(found.get(alias)) for found in (standing, told.aliases))
            yield f"the alias {alias!r} is at {at}, and the events say {says}"


def _missing(scan: Scan, project_id: int, counter: int) -> int:
    """The first sequence number without an event; one beyond the counter if there is no gap before."""
    before = _EV.alias()
    gap = (
        select(_EV.c.seq + 1)
        .outerjoin_from(_EV, before, and_(before.c.project_id == project_id, before.c.seq == _EV.c.seq + 1))
        .where(_EV.c.project_id == project_id, before.c.seq.is_(None))
        .order_by(_EV.c.seq)
        .limit(1)
    )
    first = select(_EV.c.seq).where(_EV.c.project_id == project_id, _EV.c.seq == 1)
    if counter and scan.session.execute(first).first() is None:
        return 1
    return int(scan.session.execute(gap).scalar() or 1)


def _number(details: Any) -> int:
    text = details["version"]
    if text[:1] != "v":
        raise ValueError(text)
    number = int(text[1:])
    if number < 0:
        raise ValueError(text)
    return number


def _state(what: str, deleted_at: int | None) -> str:
    is_, says = ("live", "not") if deleted_at is None else ("deleted", "live")
    return f"{what} is {is_}, and the events say that it is {says}"


def _shown(number: int | None) -> str:
    return "no version" if number is None else f"v{number}"
