"""Lines of consoles packed in segments, each one row of the database."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from modelyard_server.db import bounded
from modelyard_server.db.output_tables import ConsoleSegment, ConsoleWriter
from modelyard_server.db.upserts import insert

SEGMENT_LINES, SEGMENT_BYTES = 256, 64 << 10
"""A segment that has this much takes no further lines at its end. A replaced line rewrites its segment."""
READ_AT_ONCE = 8


class Line(NamedTuple):
    """A line as it is stored. Times are in microseconds.

    `place` is a time by which lines are ordered: it does not descend with the numbers of
    a writer, and stays when a line is replaced. `revision` is that of its last change.
    """

    number: int
    time: int
    stream: int
    text: str
    process: str
    place: int
    revision: int


class PlacedLine(NamedTuple):
    """A line among those of all writers of an attempt; it sorts as it is listed."""

    place: int
    writer: str
    number: int
    line: Line


class Segment(NamedTuple):
    """A segment without its lines."""

    id: int
    writer: str
    first_number: int
    last_number: int
    first_place: int
    last_place: int
    first_revision: int
    last_revision: int
    line_count: int
    size: int

    @property
    def is_full(self) -> bool:
        """Whether lines after it go into another segment."""
        return self.line_count >= SEGMENT_LINES or self.size >= SEGMENT_BYTES


_TABLE: Any = ConsoleSegment.__table__
_COLUMNS = [_TABLE.c[name] for name in Segment._fields]


def of_attempt(session: Session, run_id: str, attempt: int, *where: Any) -> list[Segment]:
    """The segments of an attempt, by writer and number."""
    own = (_TABLE.c.run_id == run_id, _TABLE.c.attempt == attempt, *where)
    query = select(*_COLUMNS).where(*own).order_by(_TABLE.c.writer, _TABLE.c.first_number)
    return [Segment(*row) for row in session.execute(query)]


def of_writer(session: Session, run_id: str, attempt: int, writer: str) -> list[Segment]:
    """The segments of one writer, by number."""
    return of_attempt(session, run_id, attempt, _TABLE.c.writer == writer)


def changed_after(session: Session, run_id: str, attempt: int, revision: int) -> list[Segment]:
    """The segments that have lines of a later revision."""
    return of_attempt(session, run_id, attempt, _TABLE.c.last_revision > revision)


def read(session: Session, segments: Sequence[Segment]) -> list[list[Line]]:
    """The lines of each segment."""
    ids = [segment.id for segment in segments]
    rows = session.execute(select(_TABLE.c.id, _TABLE.c.payload).where(_TABLE.c.id.in_(ids)))
    found = {id_: _unpacked(payload) for id_, payload in rows}
    return [found[id_] for id_ in ids]


def merged(
    session: Session,
    segments: Iterable[Segment],
    lowest: Callable[[Segment], int],
    key: Callable[[PlacedLine], tuple[Any, ...]],
) -> Iterator[PlacedLine]:
    """The lines of the segments in the order of `key`, read as far as the caller asks.

    No line of a segment has a key that begins with less than its `lowest`.
    """
    waiting = iter(sorted(segments, key=lowest))
    held: list[PlacedLine] = []
    count = 1  # most callers want the first lines only
    while some := list(islice(waiting, count)):
        count = min(2 * count, READ_AT_ONCE)
        for segment, lines in zip(some, read(session, some), strict=True):
            begin = (lowest(segment),)
            ready = [line for line in held if key(line) < begin]
            yield from sorted(ready, key=key)
            held = [line for line in held if key(line) >= begin]
            held += [PlacedLine(line.place, segment.writer, line.number, line) for line in lines]
    yield from sorted(held, key=key)


def store(
    session: Session, run_id: str, attempt: int, writer: str, lines: Sequence[Line], old: Segment | None
) -> None:
    """Stores successive lines in place of an old segment, or in new ones. Without lines the old one goes."""
    parts = list(_parts(lines))
    if old is not None and not parts:
        session.execute(delete(_TABLE).where(_TABLE.c.id == old.id))
    for index, part in enumerate(parts):
        row = _row(part)
        if index == 0 and old is not None:
            session.execute(update(_TABLE).where(_TABLE.c.id == old.id).values(row))
        else:
            place = {"run_id": run_id, "attempt": attempt, "writer": writer}
            session.execute(insert(session, _TABLE).values(place | row))


def remove_some(session: Session, run_id: str, limit: int) -> int:
    """Removes at most `limit` segments of a run, and returns their number."""
    return bounded.delete_some(session, ConsoleSegment, ConsoleSegment.run_id == run_id, limit=limit)


def remove_writers(session: Session, run_id: str, limit: int) -> int:
    """Removes at most `limit` rows of a run's writers, and returns their number."""
    return bounded.delete_some(session, ConsoleWriter, ConsoleWriter.run_id == run_id, limit=limit)


def _parts(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """The lines cut into segments."""
    start = size = 0
    for index, line in enumerate(lines):
        if index - start >= SEGMENT_LINES or size >= SEGMENT_BYTES:
            yield lines[start:index]
            start, size = index, 0
        size += _bytes(line)
    if start < len(lines):
        yield lines[start:]


def _row(lines: Sequence[Line]) -> dict[str, Any]:
    revisions = [line.revision for line in lines]
    return {
        "first_number": lines[0].number,
        "last_number": lines[-1].number,
        "first_place": lines[0].place,
        "last_place": lines[-1].place,
        "first_revision": min(revisions),
        "last_revision": max(revisions),
        "line_count": len(lines),
        "size": sum(map(_bytes, lines)),
        "payload": _packed(lines),
    }


def _bytes(line: Line) -> int:
    return len(line.text.encode()) + len(line.process.encode())


def _packed(lines: Sequence[Line]) -> bytes:
    return zlib.compress(json.dumps(lines, ensure_ascii=False, separators=(",", ":")).encode(), 1)


def _unpacked(payload: bytes) -> list[Line]:
    return [Line(*fields) for fields in json.loads(zlib.decompress(payload))]
