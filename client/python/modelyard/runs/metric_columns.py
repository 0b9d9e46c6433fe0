"""Rows as messages with one column for each metric, which are not much larger than the numbers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from modelyard.contract.limits import METRIC_BATCH_BYTES
from modelyard.rpc.messages import value_message
from modelyard.runs.history import Row
from modelyard.v1 import metric_pb2 as pb

BATCH_ROWS = 10_000
BATCH_BYTES = 1 << 20
_POINT_BYTES = 10

Dropped = Callable[[int, str], None]
"""Called for each row that cannot be sent, with its step and the reason."""


def pack(rows: Sequence[Row], dropped: Dropped) -> Iterator[pb.MetricBatch]:
    """The rows in batches of at most 10,000 rows and about 1 MiB, in order.

    A row that is larger than the server takes, or cannot be made into a message, is dropped.
    """
    for part in _parts(rows):
        try:
            batch = _batch(part)
            problem = "" if batch.ByteSize() <= METRIC_BATCH_BYTES else "is larger than 3 MiB"
        except Exception as error:  # whatever the reason, the other rows are sent
            problem = f"cannot be sent ({type(error).__name__}: {error})"
        if not problem:
            yield batch
        elif len(part) > 1:
            middle = len(part) // 2
            yield from pack(part[:middle], dropped)
            yield from pack(part[middle:], dropped)
        else:
            dropped(part[0].step, problem)


def halves(batch: pb.MetricBatch) -> tuple[pb.MetricBatch, pb.MetricBatch]:
    """The rows of a batch of at least two, in two batches."""
    middle = len(batch.steps) // 2
    return _rows_of(batch, 0, middle), _rows_of(batch, middle, len(batch.steps))


def _rows_of(batch: pb.MetricBatch, start: int, end: int) -> pb.MetricBatch:
    part = pb.MetricBatch(steps=batch.steps[start:end], timestamps=batch.timestamps[start:end])
    for column in batch.columns:
        rows = list(column.rows) or range(len(batch.steps))
        first, last = bisect_left(rows, start), bisect_left(rows, end)
        if first == last:
            continue
        own = part.columns.add(key=column.key)
        if last - first < end - start:
            own.rows.extend(row - start for row in rows[first:last])
        own.doubles.extend(column.doubles[first:last])
        own.ints.extend(column.ints[first:last])
        own.values.extend(column.values[first:last])
    return part


def _parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    part: list[Row] = []
    size = 0
    for row in rows:
        part.append(row)
        size += sum(_point_size(point) for point in row.points.values())
        if len(part) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _point_size(point: Any) -> int:
    if isinstance(point, str):
        return len(point) + _POINT_BYTES
    return _POINT_BYTES * (len(point) + 1) if isinstance(point, list) else _POINT_BYTES


def _batch(rows: Sequence[Row]) -> pb.MetricBatch:
    columns: dict[str, tuple[list[int], list[Any]]] = {}
    for index, row in enumerate(rows):
        for key, point in row.points.items():
            column = columns.get(key)
            if column is None:
                column = columns[key] = ([], [])
            column[0].append(index)
            column[1].append(point)
    return pb.MetricBatch(
        steps=[row.step for row in rows],
        timestamps=[row.timestamp for row in rows],
        columns=[_column(key, indexes, points, len(rows)) for key, (indexes, points) in columns.items()],
    )


def _column(key: str, indexes: list[int], points: list[Any], rows: int) -> pb.MetricColumn:
    column = pb.MetricColumn(key=key, rows=() if len(indexes) == rows else indexes)
    kinds = set(map(type, points))
    if kinds == {float}:
        column.doubles.extend(points)
    elif kinds == {int}:
        column.ints.extend(points)
    else:
        column.values.extend([value_message(point) for point in points])
    return column
