"""What changed in runs since a position: rows of metrics and lines of the console, in the order of arrival.

Everything that is written about a run holds its row. So ids of its batches and
revisions of its console ascend in the order of commits, and nothing that is
committed later comes before a position that was read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db.engine import one_snapshot
from modelyard_server.db.tables import Entity, MetricBatch, Project, Run
from modelyard_server.domain import fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, Resource, authorize
from modelyard_server.domain.access.principals import SERVER, Principal
from modelyard_server.domain.runs import console, runs
from modelyard_server.domain.runs.console_segments import PlacedLine
from modelyard_server.domain.runs.run_maps import Attempt
from modelyard_server.domain.runs.runs import RunView

PAGE_BYTES = 256 << 10
"""Bytes of rows, and of lines, in a page. It may have more where one batch has more."""
BATCHES_LOOKED_AT = 200


class Head(NamedTuple):
    """How far a run has changed. `shown` is what its readers should know at once."""

    changes: int
    attempt: int
    is_deleted: bool
    shown: tuple[Any, ...]


class Position(NamedTuple):
    """After which batch of metrics and which change of the console, in an attempt."""

    attempt: int
    batch_id: int
    revision: int


class Arrived(NamedTuple):
    """A batch of metrics as it is stored."""

    id: int
    stream: int
    first_step: int
    last_step: int
    payload: bytes


class Wanted(NamedTuple):
    """What is read of a run: streams of metrics, and whether lines of the console."""

    streams: tuple[int, ...]
    console: bool


class Page(NamedTuple):
    """What came after a position: batches by id, lines by revision; `more` if there may be more."""

    head: Head
    start: Position
    batches: Sequence[Arrived]
    lines: Sequence[PlacedLine]
    end: Position
    more: bool


# Built once: building a statement takes longer than running it.
_R, _B = (row.__table__.c for row in (Run, MetricBatch))
_HEADS = select(
    _R.id, _R.changes, _R.attempt, _R.deleted_at, _R.state, _R.edits, _R.exit_code, _R.finished_at
).where(_R.id.in_(bindparam("runs", expanding=True)))
_NEXT = (
    select(_B.id, func.length(_B.payload).label("size"))
    .where(
        _B.run_id == bindparam("run"),
        _B.attempt == bindparam("number"),
        _B.stream == bindparam("of"),
        _B.id > bindparam("after"),
        _B.last_step >= bindparam("least"),
    )
    .order_by(_B.id)
    .limit(BATCHES_LOOKED_AT)
)
_BATCHES = (
    select(*(_B[name] for name in Arrived._fields))
    .where(_B.id.in_(bindparam("ids", expanding=True)))
    .order_by(_B.id)
)


def heads(session: Session, run_ids: Collection[str]) -> Mapping[str, Head]:
    """How far these runs have changed; deleted ones too."""
    found = session.execute(_HEADS, {"runs": sorted(run_ids)})
    return {
        id_: Head(changes, attempt, deleted_at is not None, (attempt, deleted_at, *shown))
        for id_, changes, attempt, deleted_at, *shown in found
    }


def begin(
    session: Session, principal: Principal, run_id: str, position: Position | None, field: str
) -> tuple[str, Position]:
    """The id of a run, and where a watch of it begins that has seen it up to `position`, or has not.

    Raises NotFound, also for a run that was deleted if it was not seen before; InvalidField.
    """
    known = fields.parse_id(f"{field}.run_id", run_id)
    found = session.execute(
        select(Run.attempt, Run.deleted_at, Entity.name, Project.name)
        .join(Project, Run.project_id == Project.id)
        .join(Entity)
        .where(Run.id == known)
    ).one_or_none()
    if found is None or not authorize(session, principal, Action.READ, Resource(*found[2:])):
        raise owners.not_found("run", run_id)
    attempt, deleted_at = found[:2]
    if position is None and deleted_at is not None:
        raise owners.not_found("run", run_id)
    if position is not None and position.attempt > attempt:
        raise errors.InvalidField.of(f"{field}.position", "is not one of this run")
    return known, position or Position(attempt, 0, 0)


def page(session: Session, run_id: str, position: Position, wanted: Wanted, min_step: int) -> Page:
    """What came after a position, without batches that end before `min_step`.

    At the end of an earlier attempt the page ends where the next attempt begins.
    """
    one_snapshot(session)
    head = heads(session, [run_id])[run_id]
    if head.is_deleted:
        return Page(head, position, (), (), position, more=False)
    at = Attempt(run_id, position.attempt)
    batches, more_batches = _batches(session, at, position.batch_id, wanted.streams, min_step)
    lines: Sequence[PlacedLine] = ()
    revision, more_lines = position.revision, False
    if wanted.console:
        lines, revision, more_lines = console.changed(session, at, position.revision, PAGE_BYTES)
    end = Position(position.attempt, batches[-1].id if batches else position.batch_id, revision)
    more = more_batches or more_lines
    if not more and position.attempt < head.attempt:
        end, more = end._replace(attempt=position.attempt + 1), True
    return Page(head, position, batches, lines, end, more)


def show(session: Session, run_id: str, attempt: int) -> tuple[Head, RunView]:
    """An attempt of a run with its maps, and how far the run has changed. Raises NotFound."""
    one_snapshot(session)
    head = heads(session, [run_id])[run_id]
    view = runs.find(session, SERVER, run_id, attempt=attempt)
    return head, runs.with_maps(session, [view])[0]


def _batches(
    session: Session, at: Attempt, after: int, streams: Iterable[int], min_step: int
) -> tuple[list[Arrived], bool]:
    """The next batches in the order of their ids, and whether there may be more."""
    place = {"run": at.run_id, "number": at.number, "after": after, "least": min_step}
    looked: list[tuple[int, int]] = []
    end: int | None = None
    for stream in streams:
        found = [(id_, size) for id_, size in session.execute(_NEXT, {"of": stream, **place})]
        looked += found
        if len(found) == BATCHES_LOOKED_AT:
            end = min(found[-1][0], end or found[-1][0])
    looked = sorted(each for each in looked if end is None or each[0] <= end)
    sums = accumulate(size for _, size in looked)
    count = sum(total <= PAGE_BYTES for total in sums) or 1
    fitting = [id_ for id_, _ in looked[:count]]
    batches = [Arrived(*row) for row in session.execute(_BATCHES, {"ids": fitting})] if fitting else []
    return batches, end is not None or len(fitting) < len(looked)
