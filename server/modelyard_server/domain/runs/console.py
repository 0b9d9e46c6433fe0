"""Consoles of runs: lines are stored in batches, the last 10,000 of an attempt kept, and listed.

Every write holds the run's row, so the revisions of a console are in the order of
their commits.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard.contract import refs
from modelyard_server.db.engine import now, one_snapshot
from modelyard_server.db.output_tables import ConsoleSegment, ConsoleWriter
from modelyard_server.domain import fields
from modelyard_server.domain.access.authorize import Action
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.runs import console_segments, runs, writers
from modelyard_server.domain.runs.console_segments import Line, PlacedLine, Segment
from modelyard_server.domain.runs.run_maps import Attempt
from modelyard_server.domain.search import paging

KEPT_LINES = 10_000
MAX_NUMBER = (1 << 63) - 1
SEQUENCES = 100
"""Sequence numbers that are remembered of a writer."""
DEFAULT_PAGE = 100
SEARCH_BYTES = 1_024
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_POSITION = (paging.KEY, ConsoleSegment.writer.expression, paging.KEY)


@dataclass(frozen=True)
class Batch:
    """Lines of a writer in the order of their numbers. Their places and revisions are not known yet."""

    writer: str
    sequence: int
    lines: Sequence[Line]


@dataclass(frozen=True)
class Wanted:
    """Which lines are listed: all by default. `process` is None for all of them."""

    text: str = ""
    stream: int = 0
    process: str | None = None

    def matches(self, line: Line) -> bool:
        """Whether a line is listed."""
        if self.stream not in (0, line.stream) or self.process not in (None, line.process):
            return False
        return not self.text or self.text.casefold() in _COLOURS.sub("", line.text).casefold()


def log(
    session: Session,
    principal: Principal,
    run_id: str,
    batch: Batch,
    *,
    attempt: int | None = None,
    late: bool = False,
) -> bool:
    """Stores a batch; returns False, and changes nothing, if this (writer, sequence) was stored already.

    A `late` batch is stored in a run that ended too, and is no heartbeat. Raises
    NotFound, RunFinished, InvalidField.
    """
    writers.check(batch.writer, batch.sequence)
    view = runs.find(
        session, principal, run_id, action=Action.WRITE, name="run_id", lock=True, attempt=attempt
    )
    at = view.attempt
    writer = session.get(ConsoleWriter, (*at, batch.writer))
    if writer is not None and _is_stored(writer.sequences, batch.sequence):
        return False
    if not late:
        runs.require_running(session, principal, view)
        view.row.heartbeat_at = now(session)
    view.run.changes += 1
    revision = last_revision(session, at.run_id) + 1
    if writer is None:
        writer = ConsoleWriter(run_id=at.run_id, attempt=at.number, writer=batch.writer)
        writer.sequences, writer.first_kept = [], 1
        session.add(writer)
    writer.sequences = sorted([*writer.sequences, batch.sequence])[-SEQUENCES:]
    writer.revision = revision
    lines = [line for line in batch.lines if line.number >= writer.first_kept]
    session.flush()
    _store(session, at, batch.writer, [line._replace(revision=revision) for line in lines])
    _trim(session, at)
    return True


def last_revision(session: Session, run_id: str) -> int:
    """The number of changes of a run's console so far."""
    found = session.scalar(select(func.max(ConsoleWriter.revision)).where(ConsoleWriter.run_id == run_id))
    return found or 0


def page(
    session: Session,
    principal: Principal,
    run_id: str,
    wanted: Wanted,
    *,
    attempt: int | None,
    from_end: bool,
    page_size: int,
    page_token: str,
) -> tuple[list[PlacedLine], str]:
    """One page of lines and the token of the next; with `from_end` the newest lines come first.

    Raises NotFound, InvalidField, InvalidPageToken.
    """
    one_snapshot(session)
    fields.check("text", refs.check_text, wanted.text, limit=SEARCH_BYTES)
    at = runs.find(session, principal, run_id, name="run_id", attempt=attempt).attempt
    size = paging.check_size(page_size, default=DEFAULT_PAGE)
    binding = ("console", *at, from_end, wanted)
    after = tuple(paging.decode(page_token, binding, _POSITION)) if page_token else None
    lines = (line for line in _listed(session, at, after, from_end) if wanted.matches(line.line))
    found = list(islice(lines, size + 1))
    kept = found[:size]
    return kept, paging.encode(binding, kept[-1][:3]) if len(found) > size else ""


def changed(
    session: Session, at: Attempt, revision: int, most_bytes: int
) -> tuple[list[PlacedLine], int, bool]:
    """Lines of later revisions in the order of those, the last one, and whether there are more.

    About as many as fit into `most_bytes`; those of one revision are not parted.
    """
    segments = console_segments.changed_after(session, *at, revision)
    lines = console_segments.merged(
        session,
        segments,
        lambda segment: segment.first_revision,
        lambda line: (line.line.revision, line.place, line.writer, line.number),
    )
    new = (line for line in lines if line.line.revision > revision)
    found: list[PlacedLine] = []
    size = 0
    for number, group in groupby(new, key=lambda line: line.line.revision):
        part = list(group)
        more = sum(len(line.line.text) + 64 for line in part)
        if found and size + more > most_bytes:
            return found, revision, True
        found += part
        size += more
        revision = number
    return found, revision, False


def _is_stored(sequences: Sequence[int], sequence: int) -> bool:
    """Whether a batch was stored; one before all that are remembered counts as stored."""
    return sequence in sequences or (len(sequences) == SEQUENCES and sequence < sequences[0])


def _store(session: Session, at: Attempt, writer: str, lines: Sequence[Line]) -> None:
    """Stores lines: those that are known in their places, others between them or at the end."""
    segments = console_segments.of_writer(session, *at, writer)
    ends = [segment.last_number for segment in segments]
    if ends and not segments[-1].is_full:
        ends[-1] = MAX_NUMBER
    for index, group in groupby(lines, key=lambda line: bisect_left(ends, line.number)):
        new = list(group)
        before = segments[index - 1].last_place if index else 0
        old = segments[index] if index < len(segments) else None
        known = console_segments.read(session, [old])[0] if old is not None else []
        console_segments.store(session, *at, writer, _merge(known, new, before), old)


def _merge(known: Sequence[Line], new: Sequence[Line], before: int) -> list[Line]:
    """The lines of a segment with new ones, by number; `before` is the place of the line before them."""
    places = {line.number: line.place for line in known}
    lines = {line.number: line for line in (*known, *new)}
    following: int | None = None
    for number in sorted(lines, reverse=True):
        place = places.get(number, lines[number].time)
        # Lines that are known keep their places, whatever the clock of the writer says of new ones.
        following = place if following is None or number in places else min(place, following)
        places[number] = following
    merged: list[Line] = []
    for number in sorted(lines):
        before = max(before, places[number])
        merged.append(lines[number]._replace(place=before))
    return merged


def _trim(session: Session, at: Attempt) -> None:
    """Removes the oldest lines beyond those that are kept."""
    segments = console_segments.of_attempt(session, *at)
    surplus = sum(segment.line_count for segment in segments) - KEPT_LINES
    if surplus <= 0:
        return
    oldest = islice(console_segments.merged(session, segments, _first_place, _as_listed), surplus)
    gone = {line[1:3] for line in oldest}
    for segment in segments:
        numbers = {number for writer, number in gone if writer == segment.writer}
        if not numbers or min(numbers) > segment.last_number or max(numbers) < segment.first_number:
            continue
        (lines,) = console_segments.read(session, [segment])
        kept = [line for line in lines if line.number not in numbers]
        if len(kept) < len(lines):
            console_segments.store(session, *at, segment.writer, kept, segment)
    for writer in {writer for writer, _ in gone}:
        row = session.get_one(ConsoleWriter, (*at, writer))
        row.first_kept = max(number for name, number in gone if name == writer) + 1


def _listed(
    session: Session, at: Attempt, after: tuple[Any, ...] | None, from_end: bool
) -> Iterator[PlacedLine]:
    """The lines of an attempt behind a position, as they are listed, or the other way round."""
    segments = console_segments.of_attempt(session, *at)
    if from_end:
        near = [segment for segment in segments if after is None or segment.first_place <= after[0]]
        lines = _backwards(session, near)
        return (line for line in lines if after is None or line[:3] < after)
    near = [segment for segment in segments if after is None or segment.last_place >= after[0]]
    lines = console_segments.merged(session, near, _first_place, _as_listed)
    return (line for line in lines if after is None or line[:3] > after)


def _backwards(session: Session, segments: Sequence[Segment]) -> Iterator[PlacedLine]:
    """The lines of the segments, newest first."""
    order = {name: -index for index, name in enumerate(sorted({segment.writer for segment in segments}))}
    return console_segments.merged(
        session,
        segments,
        lambda segment: -segment.last_place,
        lambda line: (-line.place, order[line.writer], -line.number),
    )


def _first_place(segment: Segment) -> int:
    return segment.first_place


def _as_listed(line: PlacedLine) -> tuple[Any, ...]:
    return line[:3]
