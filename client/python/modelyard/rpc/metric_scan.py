"""The rows of a run, from the batches they are stored in."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from modelyard.contract import errors
from modelyard.rpc import messages
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import Retrier
from modelyard.v1 import metric_pb2 as pb

AUTOMATIC = ("_step", "_timestamp", "_runtime")
"""What every row has."""


class Source(NamedTuple):
    """Whose rows are meant; `run_id` is the global id, `started` in seconds since 1970."""

    run_id: str
    started: float
    attempt: int = 0
    """0: the latest."""
    system: bool = False
    """Whether the rows are those of the machine instead of the training code."""


class Column(NamedTuple):
    """The points of a metric, and the indexes of their rows, ascending."""

    rows: Sequence[int]
    points: Sequence[Any]
    numeric: bool


class Batch:
    """Rows in columns.

    With `keys`, a row has only these, and rows that lack one are left out. A row has
    `_step`, `_timestamp` and `_runtime` besides, or those of them that `keys` names.
    """

    def __init__(self, message: pb.MetricBatch, started: float, keys: Sequence[str] = ()) -> None:
        self._started = started
        self._keys = tuple(dict.fromkeys(keys))
        self.steps: Sequence[int] = list(message.steps)
        self.times: Sequence[float] = list(message.timestamps)
        every = range(len(self.steps))
        self.columns = {column.key: _column(column, every) for column in message.columns}
        wanted = [key for key in self._keys if key not in AUTOMATIC]
        if any(key not in self.columns for key in wanted):
            self._keep([])
        elif any(len(self.columns[key].rows) < len(every) for key in wanted):
            self._keep(sorted(set(every).intersection(*(self.columns[key].rows for key in wanted))))

    def row(self, index: int) -> dict[str, Any]:
        """A row by its index."""
        found = {}
        for key, column in self.columns.items():
            place = index if isinstance(column.rows, range) else bisect_left(column.rows, index)
            if place < len(column.rows) and column.rows[place] == index:
                found[key] = column.points[place]
        return self._with_automatic(found, index)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows that have a point."""
        found: list[dict[str, Any]] = [{} for _ in self.steps]
        for key, column in self.columns.items():
            for index, point in zip(column.rows, column.points, strict=True):
                found[index][key] = point
        for index, row in enumerate(found):
            if row or self._keys:
                yield self._with_automatic(row, index)

    def _with_automatic(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        moment = self.times[index]
        row.update(_step=self.steps[index], _timestamp=moment, _runtime=moment - self._started)
        return {key: row[key] for key in self._keys} if self._keys else row

    def _keep(self, kept: Sequence[int]) -> None:
        """Leaves only these rows."""
        number = {index: place for place, index in enumerate(kept)}
        self.steps = [self.steps[index] for index in kept]
        self.times = [self.times[index] for index in kept]
        for key, (rows, points, numeric) in self.columns.items():
            both = [(number[at], point) for at, point in zip(rows, points, strict=True) if at in number]
            self.columns[key] = Column([at for at, _ in both], [point for _, point in both], numeric)


def rows(
    connection: Connection,
    source: Source,
    keys: Sequence[str] = (),
    min_step: int = 0,
    end_step: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows in order of their batches; `keys` as for `Batch`."""
    for batch in batches(connection, source, keys, min_step, end_step):
        yield from batch.rows()


def batches(
    connection: Connection,
    source: Source,
    keys: Sequence[str] = (),
    min_step: int = 0,
    end_step: int | None = None,
    *,
    any_key: bool = False,
) -> Iterator[Batch]:
    """The batches of a run's rows; `keys` as for `Batch`. With `any_key`, rows need one of the keys only."""
    request = pb.ScanMetricHistoryRequest(
        run_id=source.run_id,
        keys=[key for key in keys if key not in AUTOMATIC],
        min_step=min_step,
        end_step=end_step,
        stream=pb.METRIC_STREAM_SYSTEM if source.system else pb.METRIC_STREAM_HISTORY,
    )
    if source.attempt:
        request.attempt = source.attempt
    for message in _messages(connection, request):
        yield Batch(message, source.started, () if any_key else keys)


def _messages(connection: Connection, request: pb.ScanMetricHistoryRequest) -> Iterator[pb.MetricBatch]:
    """The batches of a scan, which is repeated until its first batch has come.

    Later it cannot continue where it broke: how rows are grouped into batches is not promised.
    """
    retrier = Retrier(connection)
    begun = False
    while True:
        channel = connection.channel
        try:
            for reply in connection.metrics.ScanMetricHistory(request):
                begun = True
                yield reply.batch
            return
        except errors.CommError as error:
            if begun:
                raise
            retrier.wait(error, channel)


def _column(column: pb.MetricColumn, every: range) -> Column:
    numbers = column.doubles or column.ints
    points = list(numbers) if numbers else [messages.value(item) for item in column.values]
    return Column(list(column.rows) or every, points, bool(numbers))
