"""Metrics: batches of rows, stored as they were sent, each in one row of the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db.engine import BINARY_RESULTS, now
from modelyard_server.db.tables import PACK_WEIGHT, MetricBatch, MetricLog
from modelyard_server.domain.access.authorize import Action
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.runs import runs, writers
from modelyard_server.domain.runs.run_maps import Attempt

HISTORY, SYSTEM = 1, 2
"""The streams of a run: what its code logged, and what its client measured of the machine."""
BATCHES_LOOKED_AT = 200


@dataclass(frozen=True)
class Batch:
    """A batch: its stored `payload`, and its columns in the database.

    `last_values` are the last points of each metric, in the form in which rows store
    them.
    """

    writer: str
    sequence: int
    payload: bytes
    first_step: int
    last_step: int
    row_count: int
    last_values: Mapping[str, Any]
    stream: int = HISTORY
    weight: int = 0


DOUBLES, INTS, OTHERS = 1, 2, 4
"""Kinds of the points of a column: floats, whole numbers that are exact as floats, and all others."""


class Column(NamedTuple):
    """A metric in a batch: the rows that have a number (None: all), and the numbers.

    The three counts are of other values too: how many points there are, and the first and
    the last row of one.
    """

    key: str
    rows: Sequence[int] | None
    numbers: Sequence[float]
    point_count: int
    first_row: int
    last_row: int
    kind: int = OTHERS


class Rows(NamedTuple):
    """The rows of a batch, decoded."""

    steps: Sequence[int]
    times: Sequence[float]
    columns: Sequence[Column]

    @property
    def weight(self) -> int:
        """What the batch weighs in its log."""
        return weight(len(self.steps), len(self.columns), self.point_count)

    @property
    def point_count(self) -> int:
        """The points of all metrics."""
        return sum(column.point_count for column in self.columns)


Decode = Callable[[bytes, Collection[str] | None], Rows]
"""Decodes the payload of a batch: the points of these metrics, without metrics of all."""


def weight(rows: int, columns: int, points: int) -> int:
    """What a batch weighs while it waits: about the microseconds that reading one of its metrics takes."""
    return 15 + rows + columns // 16 + points // 64


class Position(NamedTuple):
    """The position of a scan: after this batch."""

    first_step: int
    id: int


START = Position(-1, 0)


class Stored(NamedTuple):
    """How many rows are stored under a (writer, sequence), and whether they were before.

    `is_due`: so many batches wait now that they should be packed.
    """

    row_count: int
    duplicate: bool
    is_due: bool = False


def log(
    session: Session,
    principal: Principal,
    run_id: str,
    batch: Batch,
    *,
    summarize: bool,
    summary: Mapping[str, Any],
    late: bool = False,
    attempt: int | None = None,
) -> Stored:
    """Stores a batch, unless this (writer, sequence) is stored already.

    With `summarize` its last points are set in the summary, before the entries of
    `summary`. A `late` batch is stored in a run that ended too, is no heartbeat, and
    changes the summary only if the run has no later step. `attempt` is the latest by
    default; rows of an earlier one are stored with that. Rows of the stream SYSTEM change
    neither the summary nor the last step. Raises NotFound, RunFinished, InvalidField.
    """
    writers.check(batch.writer, batch.sequence)
    if batch.stream == SYSTEM and summary:
        raise errors.InvalidField.of("summary", "is not changed by the stream SYSTEM; log it as HISTORY")
    view = runs.find(
        session, principal, run_id, action=Action.WRITE, name="run_id", lock=True, attempt=attempt
    )
    stored = _stored_rows(session, view.attempt, batch)
    if stored is not None:
        return Stored(stored, duplicate=True)
    if not late:
        runs.require_running(session, principal, view)
    time = now(session)
    connection = session.connection()
    _insert(connection, view.attempt, batch, time)
    waiting = _weigh(connection, view.attempt, batch)
    run = view.row
    run.updated_at = time
    if not late:
        run.heartbeat_at = time
    if batch.stream == HISTORY:
        is_newest = batch.last_step >= run.last_step
        run.last_step = max(run.last_step, batch.last_step)
        if is_newest or not late:
            runs.set_summary(session, view, {**batch.last_values, **summary} if summarize else summary)
    return Stored(batch.row_count, duplicate=False, is_due=waiting >= PACK_WEIGHT)


def _insert(connection: Connection, attempt: Attempt, batch: Batch, time: int) -> None:
    row = {
        "run_id": attempt.run_id,
        "attempt": attempt.number,
        "stream": batch.stream,
        "writer": batch.writer,
        "sequence": batch.sequence,
        "first_step": batch.first_step,
        "last_step": batch.last_step,
        "row_count": batch.row_count,
        "payload": batch.payload,
        "created_at": time,
    }
    connection.execute(_INSERT, row)


def _weigh(connection: Connection, attempt: Attempt, batch: Batch) -> int:
    """Adds the batch to its log; returns what waits there now. The caller holds the lock of the run."""
    own = {"own_run": attempt.run_id, "own_attempt": attempt.number, "own_stream": batch.stream}
    waiting = connection.execute(_WEIGH, {**own, "more": batch.weight}).scalar_one_or_none()
    if waiting is None:
        new = {"run_id": attempt.run_id, "attempt": attempt.number, "stream": batch.stream}
        connection.execute(_BEGIN_LOG, {**new, "packed_id": 0, "waiting": batch.weight})
        return batch.weight
    return int(waiting)


def batches_after(
    session: Session,
    attempt: Attempt,
    position: Position,
    *,
    stream: int,
    min_step: int,
    end_step: int | None,
    most_bytes: int,
) -> list[tuple[Position, bytes]]:
    """The next batches of an attempt's stream that overlap `min_step <= step < end_step`, by first step.

    As many as fit into `most_bytes`, but at least one; none at the end of the scan.
    """
    place = tuple_(MetricBatch.first_step, MetricBatch.id)
    looked = select(MetricBatch.id, func.length(MetricBatch.payload)).where(
        MetricBatch.run_id == attempt.run_id,
        MetricBatch.attempt == attempt.number,
        MetricBatch.stream == stream,
        place > tuple_(position.first_step, position.id),
        MetricBatch.last_step >= min_step,
    )
    if end_step is not None:
        looked = looked.where(MetricBatch.first_step < end_step)
    order = (MetricBatch.first_step, MetricBatch.id)
    sizes = session.execute(looked.order_by(*order).limit(BATCHES_LOOKED_AT))
    wanted = list(_fitting(sizes.all(), most_bytes))
    found = session.execute(
        select(MetricBatch.first_step, MetricBatch.id, MetricBatch.payload)
        .where(MetricBatch.id.in_(wanted))
        .order_by(*order),
        execution_options=BINARY_RESULTS,
    )
    return [(Position(first_step, id_), payload) for first_step, id_, payload in found]


def _fitting(sizes: Sequence[tuple[int, int]], most_bytes: int) -> Iterator[int]:
    total = 0
    for index, (id_, size) in enumerate(sizes):
        total += size
        if index and total > most_bytes:
            return
        yield id_


def _stored_rows(session: Session, attempt: Attempt, batch: Batch) -> int | None:
    """The number of rows that are stored under this (writer, sequence); None if there are none."""
    key = {
        "own_run": attempt.run_id,
        "own_attempt": attempt.number,
        "writer": batch.writer,
        "sequence": batch.sequence,
    }
    found: int | None = session.connection().execute(_SAME, key).scalar()
    return found


# The statements of each batch: without the ORM, and built once, so that SQLAlchemy compiles them once.
_BATCHES: Any = MetricBatch.__table__
_LOGS: Any = MetricLog.__table__
_SAME = select(_BATCHES.c.row_count).where(
    _BATCHES.c.run_id == bindparam("own_run"),
    _BATCHES.c.attempt == bindparam("own_attempt"),
    _BATCHES.c.writer == bindparam("writer"),
    _BATCHES.c.sequence == bindparam("sequence"),
)
_INSERT = insert(_BATCHES).inline()
_WEIGH = (
    update(_LOGS)
    .where(
        _LOGS.c.run_id == bindparam("own_run"),
        _LOGS.c.attempt == bindparam("own_attempt"),
        _LOGS.c.stream == bindparam("own_stream"),
    )
    .values(waiting=_LOGS.c.waiting + bindparam("more"))
    .returning(_LOGS.c.waiting)
)
_BEGIN_LOG = insert(_LOGS).inline()
