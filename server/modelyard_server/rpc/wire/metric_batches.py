"""Metric batches: checks of messages, last points of columns, and selection of rows."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Sequence
from itertools import islice
from operator import lt
from typing import TYPE_CHECKING, Any

from modelyard.contract import errors, values
from modelyard.contract.limits import MAX_STEP, METRIC_BATCH_BYTES, METRIC_BATCH_ROWS
from modelyard.v1 import metric_pb2 as pb
from modelyard.v1 import value_pb2
from modelyard_server.domain.runs.metrics import DOUBLES, INTS, OTHERS, Batch, Column, Rows, weight
from modelyard_server.domain.series.keys import KeyRow
from modelyard_server.rpc.wire import convert

if TYPE_CHECKING:
    from modelyard_server.domain.series.scans import SeriesRows

STEP_END = MAX_STEP + 1
_EXACT = 1 << 53
"""Up to it every whole number is exact as a double."""
_NUMBERS = {"int_value", "double_value"}


def parse(request: pb.LogMetricsRequest) -> Batch:
    """Checks the batch of a request; returns it in the form to store. Raises InvalidField."""
    batch = request.batch
    payload = batch.SerializeToString()
    if len(payload) > METRIC_BATCH_BYTES:
        raise errors.InvalidField.of("batch", f"has {len(payload)} bytes; at most {METRIC_BATCH_BYTES}")
    steps = list(batch.steps)
    _check_rows(batch, steps)
    last = {}
    points = 0
    for index, column in enumerate(batch.columns):  # there may be ten thousand
        key = column.key
        _check_key(key, index)
        if key in last:
            raise errors.InvalidField.of(_field(index, "key"), f"{key!r} has a column already")
        last[key], count = _last_point(column, len(steps), index)
        points += count
    return Batch(
        writer=request.writer,
        sequence=request.sequence,
        payload=payload,
        first_step=steps[0],
        last_step=steps[-1],
        row_count=len(steps),
        last_values=last,
        weight=weight(len(steps), len(last), points),
        stream=stream(request.stream),
    )


def stream(asked: int) -> int:
    """The number of a stream in the database. Raises InvalidField for one that is not known."""
    if asked not in pb.MetricStream.values():
        raise errors.InvalidField.of("stream", f"{asked} is not a stream this server knows")
    return asked or pb.METRIC_STREAM_HISTORY


def decode(payload: bytes, keys: Collection[str] | None) -> Rows:
    """The rows of a stored batch, with the numbers of these metrics; without metrics, of all."""
    batch = pb.MetricBatch.FromString(payload)
    columns = [_decoded(column) for column in batch.columns if keys is None or column.key in keys]
    return Rows(list(batch.steps), list(batch.timestamps), columns)


class BatchKeys:
    """The metrics of a stored batch, counted one by one."""

    def __init__(self, payload: bytes) -> None:
        batch = pb.MetricBatch.FromString(payload)
        self._steps = batch.steps
        self._columns = {column.key: column for column in batch.columns}

    @property
    def names(self) -> Collection[str]:
        """The names of the metrics."""
        return self._columns.keys()

    def row(self, key: str) -> KeyRow:
        """One of the metrics."""
        column = self._columns[key]
        numbers = count = len(column.doubles) or len(column.ints)
        if not count:
            count = len(column.values)
            numbers = sum(value.WhichOneof("kind") in _NUMBERS for value in column.values)
        first, last = (column.rows[0], column.rows[-1]) if column.rows else (0, -1)
        return KeyRow(key, count, numbers, self._steps[first], self._steps[last])


def _decoded(column: pb.MetricColumn) -> Column:
    rows = list(column.rows) or None
    numbers: list[float] = list(column.doubles)
    kind = DOUBLES
    if not numbers:
        numbers = list(column.ints)
        kind = INTS if numbers and max(-min(numbers), max(numbers)) <= _EXACT else OTHERS
    if not numbers:
        return _decoded_values(column, rows or range(len(column.values)))
    ends = (rows[0], rows[-1]) if rows else (0, len(numbers) - 1)
    return Column(column.key, rows, numbers, len(numbers), *ends, kind)


def _decoded_values(column: pb.MetricColumn, rows: Sequence[int]) -> Column:
    found = [
        (row, value.int_value if value.HasField("int_value") else value.double_value)
        for row, value in zip(rows, column.values, strict=True)
        if value.WhichOneof("kind") in _NUMBERS
    ]
    own, numbers = [row for row, _ in found], [number for _, number in found]
    return Column(column.key, own, numbers, len(rows), rows[0], rows[-1])


def select(
    batch: pb.MetricBatch, keys: Collection[str], min_step: int, end_step: int | None
) -> pb.MetricBatch | None:
    """The rows of a batch within these steps that have a point of these metrics; None if there are none.

    Without keys all metrics count.
    """
    steps = list(batch.steps)
    first = bisect_left(steps, min_step)
    end = len(steps) if end_step is None else bisect_left(steps, end_step)
    columns = [column for column in batch.columns if not keys or column.key in keys]
    wanted = range(first, end)
    if keys and all(column.rows for column in columns):
        wanted_rows = {row for column in columns for row in column.rows if first <= row < end}
        kept: Sequence[int] = sorted(wanted_rows)
    else:
        kept = wanted
    if not kept:
        return None
    if len(kept) == len(steps) and len(columns) == len(batch.columns):
        return batch
    timestamps = list(batch.timestamps)
    chosen = pb.MetricBatch(steps=[steps[row] for row in kept], timestamps=[timestamps[row] for row in kept])
    places = {row: place for place, row in enumerate(kept)}
    for column in columns:
        part = _part(column, places, len(steps))
        if part is not None:
            chosen.columns.append(part)
    return chosen


def of_series(rows: SeriesRows) -> pb.MetricBatch:
    """Rows that were read from series, as a batch."""
    batch = pb.MetricBatch(steps=rows.steps.tolist(), timestamps=rows.times.tolist())
    for key, places, points in rows.columns:
        column = batch.columns.add(key=key, rows=() if places is None else places.tolist())
        (column.ints if points.dtype.kind == "i" else column.doubles).extend(points.tolist())
    return batch


def _check_rows(batch: pb.MetricBatch, steps: list[int]) -> None:
    if not steps:
        raise errors.InvalidField.of("batch.steps", "is empty")
    if len(steps) > METRIC_BATCH_ROWS:
        raise errors.InvalidField.of("batch.steps", f"has {len(steps)} rows; at most {METRIC_BATCH_ROWS}")
    if len(batch.timestamps) != len(steps):
        raise errors.InvalidField.of(
            "batch.timestamps", f"has {len(batch.timestamps)} entries for {len(steps)} steps"
        )
    _check_timestamps(batch.timestamps)
    previous = 0
    # Sorted and in range at both ends is all that is asked; the place of an error is looked for only then.
    if steps[0] >= 0 and steps[-1] < STEP_END and steps == sorted(steps):
        return
    for index, step in enumerate(steps):
        if not 0 <= step < STEP_END:
            raise errors.InvalidField.of(f"batch.steps[{index}]", f"is {step}; a step is 0 to 2^53")
        if step < previous:
            raise errors.InvalidField.of(
                f"batch.steps[{index}]", f"is {step}, after {previous}: steps must not descend"
            )
        previous = step


def _check_timestamps(timestamps: Sequence[float]) -> None:
    # A sum that is finite has no term that is not; the place of an error is looked for only then.
    if math.isfinite(sum(timestamps)) and min(timestamps) >= 0:
        return
    for index, time in enumerate(timestamps):
        if not 0 <= time < math.inf:
            raise errors.InvalidField.of(
                f"batch.timestamps[{index}]",
                f"is {time}; expected seconds since 1970, finite and not negative",
            )


def _field(index: int, name: str = "") -> str:
    return f"batch.columns[{index}]{'.' if name else ''}{name}"


def _check_key(key: str, index: int) -> None:
    wrong = values.check_metric_name(key)
    if wrong:
        raise errors.InvalidField.of(_field(index, "key"), f"{key[:50]!r} {wrong}" if key else wrong)


def _last_point(column: pb.MetricColumn, row_count: int, index: int) -> tuple[Any, int]:
    """Checks a column; returns its last point in the form of rows, and how many it has."""
    count = row_count
    if rows := column.rows:
        if rows[-1] >= row_count or not _ascends(rows):
            raise errors.InvalidField.of(_field(index, "rows"), f"must ascend and stay below {row_count}")
        count = len(rows)
    doubles, ints, others = column.doubles, column.ints, column.values
    if bool(doubles) + bool(ints) + bool(others) != 1:
        raise errors.InvalidField.of(_field(index), "must use exactly one of doubles, ints and values")
    points: Sequence[Any] = doubles or ints or others
    if len(points) != count:
        name = "doubles" if doubles else "ints" if ints else "values"
        raise errors.InvalidField.of(_field(index, name), f"has {len(points)} points for {count} rows")
    last: Any = points[-1]
    for place, point in enumerate(others):
        last = convert.value_to_python(point, _field(index, f"values[{place}]"))
    return values.to_json(last), count


def _ascends(rows: Sequence[int]) -> bool:
    return all(map(lt, rows, islice(rows, 1, None)))


def _part(column: pb.MetricColumn, places: dict[int, int], row_count: int) -> pb.MetricColumn | None:
    """The points of a column in the rows of `places` (old row → new row); None if there are none."""
    rows = column.rows or range(row_count)
    chosen = [(index, places[row]) for index, row in enumerate(rows) if row in places]
    if not chosen:
        return None
    new_rows = [] if len(chosen) == len(places) else [row for _, row in chosen]
    part = pb.MetricColumn(key=column.key, rows=new_rows)
    if column.doubles:
        part.doubles.extend(column.doubles[index] for index, _ in chosen)
    elif column.ints:
        part.ints.extend(column.ints[index] for index, _ in chosen)
    else:
        points: list[value_pb2.AnyValue] = [column.values[index] for index, _ in chosen]
        part.values.extend(points)
    return part
