"""The maps of runs, which are config, summary and metadata: stored in pieces, checked, indexed.

A small map is one row, which is written anew. A change of a large one is a row of
its own, a piece, until the pieces are as large as the map and become one: so a
change costs about what it is long itself, and never the map each time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, and_, bindparam, case, delete, func, insert, null, select, update
from sqlalchemy.orm import Session

from modelyard.contract import errors, values
from modelyard.contract.limits import RUN_MAPS_BYTES, RUN_VALUE_BYTES
from modelyard_server.db import attributes, bounded
from modelyard_server.db.attributes import RUN_CONFIG, RUN_SUMMARY
from modelyard_server.db.tables import Run, RunMap
from modelyard_server.db.upserts import batches
from modelyard_server.domain import fields

CONFIG, SUMMARY, METADATA = PARTS = ("config", "summary", "metadata")
WHOLE_BYTES = 16 << 10
"""A map of at most so many bytes is one piece."""
SHORT_BYTES = 4 << 10
"""A map of at most so many bytes has fewer scalars than `attributes.LEAF_LIMIT`; each has some bytes."""
PIECES = 32
"""The most pieces of a map."""

Maps: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By part, then by key; values are in their JSON form."""
EMPTY: Maps = MappingProxyType(dict.fromkeys(PARTS, MappingProxyType({})))

_INDEXED = {CONFIG: RUN_CONFIG, SUMMARY: RUN_SUMMARY}


class Attempt(NamedTuple):
    """One attempt of a run."""

    run_id: str
    number: int


class Change(NamedTuple):
    """New entries of a map, and keys to remove. With `whole` the entries are the new map."""

    entries: Mapping[str, Any]
    removed: Collection[str] = ()
    whole: bool = False


class _Piece(NamedTuple):
    number: int
    size: int
    entries: dict[str, Any] | None
    """None where they were not read."""


def read(session: Session, wanted: Iterable[Attempt], parts: Collection[str] = PARTS) -> dict[Attempt, Maps]:
    """The maps of attempts; parts without entries are empty."""
    attempts = sorted(set(wanted))
    found: dict[Attempt, dict[str, dict[str, Any]]] = {
        attempt: {part: {} for part in parts} for attempt in attempts
    }
    for batch in batches(attempts):
        query = select(RunMap.run_id, RunMap.attempt, RunMap.part, RunMap.entries).where(
            _of(batch), RunMap.part.in_(parts)
        )
        for run_id, number, part, entries in session.execute(query.order_by(RunMap.piece)):
            known = found.get(Attempt(run_id, number))
            if known is not None:
                known[part].update(entries)
    return dict(found)


def sizes(session: Session, wanted: Iterable[Attempt], parts: Collection[str]) -> dict[Attempt, int]:
    """About the bytes of these parts as a message, of each attempt that has any."""
    found: dict[Attempt, int] = {}
    for batch in batches(sorted(set(wanted))):
        query = select(RunMap.run_id, RunMap.attempt, func.sum(RunMap.size)).where(
            _of(batch), RunMap.part.in_(parts)
        )
        rows = session.execute(query.group_by(RunMap.run_id, RunMap.attempt))
        found |= {Attempt(run_id, number): int(size) for run_id, number, size in rows}
    return found


def change(
    session: Session, run: Run, changes: Mapping[str, Change], *, attempt: int | None = None, field: str = ""
) -> None:
    """Changes maps of an attempt, by default of the latest. The caller has locked the run.

    `field` stands in front of the part in errors, as in `run.`. Raises InvalidField if
    a value, or all of them together, are too large; it names the largest value.
    """
    wanted = {part: made for part, made in changes.items() if made.entries or made.removed or made.whole}
    if not wanted:
        return
    added = {part: _size(part, made.entries, field) for part, made in wanted.items()}
    at = Attempt(run.id, attempt or run.attempt)
    pieces = _pieces(session, at, wanted)
    for part, made in wanted.items():
        _write(session, run, at, part, made, added[part], pieces)
    if _total(pieces) > RUN_MAPS_BYTES:
        _join(session, at, pieces)
        if _total(pieces) > RUN_MAPS_BYTES:
            raise _too_large_together({part: made.entries for part, made in wanted.items()}, field)


def check(maps: Maps, *, field: str) -> None:
    """Raises InvalidField for maps that are too large for a run; see `change`."""
    if sum(_size(part, entries, field) for part, entries in maps.items()) > RUN_MAPS_BYTES:
        raise _too_large_together(maps, field)


def clear_index(session: Session, run: Run) -> None:
    """Removes the maps of a run from the search index."""
    for prefix in _INDEXED.values():
        attributes.replace(session, run, prefix, None, {})


def remove_some(session: Session, run_id: str, limit: int) -> int:
    """Removes at most `limit` pieces of a run's maps, and returns their number. The index stays."""
    return bounded.delete_some(session, RunMap, RunMap.run_id == run_id, limit=limit)


def _size(part: str, entries: Mapping[str, Any], field: str) -> int:
    """The bytes of a map as a message. Raises InvalidField for a value that is too large."""
    total = 0
    for key, value in entries.items():
        size = fields.wire_bytes(value)
        if size > RUN_VALUE_BYTES:
            why = f"has {size} bytes on the wire; a value has at most {RUN_VALUE_BYTES}"
            raise _too_large(field, part, key, why)
        total += fields.wire_bytes_of_entry(key, size)
    return total


def _too_large_together(maps: Maps, field: str) -> errors.InvalidField:
    every = (
        (fields.wire_bytes(value), part, key)
        for part, entries in maps.items()
        for key, value in entries.items()
    )
    size, part, key = max(every, default=(0, CONFIG, ""))
    why = f"has {size} bytes on the wire; config, summary and metadata together have at most {RUN_MAPS_BYTES}"
    return _too_large(field, part, key, why)


def _too_large(field: str, part: str, key: str, why: str) -> errors.InvalidField:
    """The error has the key apart too, since it may hold dots."""
    error = errors.InvalidField.of(f"{field}{part}.{key}", why)
    error.metadata.update(part=part, key=key)
    return error


def _of(attempts: Sequence[Attempt]) -> ColumnElement[bool]:
    ids = sorted({attempt.run_id for attempt in attempts})
    numbers = sorted({attempt.number for attempt in attempts})
    # May find others too; a comparison of pairs would not use the index on SQLite.
    return and_(RunMap.run_id.in_(ids), RunMap.attempt.in_(numbers))


def _pieces(session: Session, at: Attempt, wanted: Collection[str]) -> dict[str, list[_Piece]]:
    """The pieces of each part; the entries of small ones that will be changed."""
    found: dict[str, list[_Piece]] = {part: [] for part in PARTS}
    rows = session.connection().execute(
        _PIECES, {"of": at.run_id, "number": at.number, "wanted": sorted(wanted)}
    )
    for part, *piece in rows:
        found[part].append(_Piece(*piece))
    return found


def _total(pieces: Mapping[str, Sequence[_Piece]]) -> int:
    """At least the bytes of the maps; exactly those if each has one piece at most."""
    return sum(piece.size for part in pieces.values() for piece in part)


def _write(
    session: Session,
    run: Run,
    at: Attempt,
    part: str,
    made: Change,
    size: int,
    pieces: dict[str, list[_Piece]],
) -> None:
    """Writes one map and its index; `pieces` follow. `size` is that of the new entries."""
    prefix = _INDEXED.get(part) if at.number == run.attempt else None
    stored = pieces[part]
    if _is_appended(stored, made, size):
        piece = _Piece(stored[-1].number + 1, size, None)
        session.connection().execute(_ADD, _row(at, part, piece, made.entries))
        stored.append(piece)
        if prefix:
            attributes.merge(session, run, prefix, made.entries)
        return
    if not made.whole and not made.removed and _is_short(stored, size):
        pieces[part] = [_change_short(session, run, at, part, made.entries, stored[0], prefix)]
        return
    known = not made.whole or sum(piece.size for piece in stored) <= WHOLE_BYTES
    before = _entries(session, at, part, stored) if known else {}
    kept = {} if made.whole else {key: before[key] for key in before if key not in made.removed}
    after = {**kept, **made.entries}
    _store(session, at, part, after, pieces)
    if prefix:
        rows = attributes.rows_of(prefix, before) if known else None
        attributes.replace(session, run, prefix, rows, attributes.rows_of(prefix, after))


def _is_appended(stored: Sequence[_Piece], made: Change, size: int) -> bool:
    """Whether a change of a map becomes a piece of its own."""
    if not stored or len(stored) >= PIECES or made.whole or made.removed:
        return False
    first, later = stored[0].size, sum(piece.size for piece in stored[1:])
    return first + size > WHOLE_BYTES and later + size <= max(first, WHOLE_BYTES)


def _is_short(stored: Sequence[_Piece], size: int) -> bool:
    return len(stored) == 1 and stored[0].size + size <= SHORT_BYTES


def _change_short(
    session: Session,
    run: Run,
    at: Attempt,
    part: str,
    entries: Mapping[str, Any],
    piece: _Piece,
    prefix: str | None,
) -> _Piece:
    """Changes a map that fits the index, entry by entry: this happens with each batch of metrics."""
    before = piece.entries or {}
    new = {
        key: value
        for key, value in entries.items()
        if key not in before or not values.identical(before[key], value)
    }
    if not new:
        return piece
    old = {key: before[key] for key in new if key in before}
    size = piece.size + fields.wire_bytes_of_map(new) - fields.wire_bytes_of_map(old)
    changed = _Piece(0, size, {**before, **new})
    _replace(session, at, part, changed)
    if prefix:
        attributes.replace(
            session, run, prefix, attributes.rows_of(prefix, old), attributes.rows_of(prefix, new)
        )
    return changed


def _replace(session: Session, at: Attempt, part: str, piece: _Piece) -> None:
    values_ = {"new_entries": piece.entries, "new_size": piece.size}
    own = {"of": at.run_id, "number": at.number, "named": part}
    session.connection().execute(_CHANGE, {**own, **values_})


def _store(
    session: Session, at: Attempt, part: str, entries: dict[str, Any], pieces: dict[str, list[_Piece]]
) -> None:
    """Stores a map as one piece."""
    stored = pieces[part]
    if len(stored) > 1:
        session.connection().execute(_REMOVE_LATER, {"of": at.run_id, "number": at.number, "named": part})
    piece = _Piece(0, fields.wire_bytes_of_map(entries), entries)
    if not stored:
        session.connection().execute(_ADD, _row(at, part, piece, entries))
    elif stored[0].entries is None or not values.identical(stored[0].entries, entries):
        _replace(session, at, part, piece)
    pieces[part] = [piece]


def _row(at: Attempt, part: str, piece: _Piece, entries: Mapping[str, Any]) -> dict[str, Any]:
    place = {"run_id": at.run_id, "attempt": at.number, "part": part}
    return {**place, "piece": piece.number, "size": piece.size, "entries": dict(entries)}


def _join(session: Session, at: Attempt, pieces: dict[str, list[_Piece]]) -> None:
    """Makes each map of several pieces one, so that their sizes are exact."""
    for part, stored in list(pieces.items()):
        if len(stored) > 1:
            _store(session, at, part, _entries(session, at, part, stored), pieces)


def _entries(session: Session, at: Attempt, part: str, stored: Sequence[_Piece]) -> dict[str, Any]:
    if any(piece.entries is None for piece in stored):
        return dict(read(session, [at], [part])[at][part])
    found: dict[str, Any] = {}
    for piece in stored:
        found.update(piece.entries or {})
    return found


# Built once: making a statement takes longer than running it.
_TABLE: Any = RunMap.__table__
_OWN = (
    _TABLE.c.run_id == bindparam("of"),
    _TABLE.c.attempt == bindparam("number"),
    _TABLE.c.part == bindparam("named"),
)
_SMALL = (_TABLE.c.size <= WHOLE_BYTES) & _TABLE.c.part.in_(bindparam("wanted", expanding=True))
_PIECES = (
    select(_TABLE.c.part, _TABLE.c.piece, _TABLE.c.size, case((_SMALL, _TABLE.c.entries), else_=null()))
    .where(*_OWN[:2])
    .order_by(_TABLE.c.piece)
)
_ADD = insert(_TABLE)
_CHANGE = (
    update(_TABLE)
    .where(*_OWN, _TABLE.c.piece == 0)
    .values(entries=bindparam("new_entries", type_=_TABLE.c.entries.type), size=bindparam("new_size"))
)
_REMOVE_LATER = delete(_TABLE).where(*_OWN, _TABLE.c.piece > 0)
