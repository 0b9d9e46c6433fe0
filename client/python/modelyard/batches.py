"""Rows as messages: columns instead of rows, so that a batch costs about as much as its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from modelyard import terminal
from modelyard.history import Row
from modelyard.manifest import value_message
from modelyard.v1 import run_pb2 as pb

BATCH_ROWS = 10_000
BATCH_BYTES = 1 << 20
_MOST_BYTES = 3 << 20  # what the server takes in one batch
_POINT_BYTES = 10
_KEY_BYTES = 1_024
_MAX_STEP = 1 << 53


def pack(rows: Sequence[Row]) -> Iterator[pb.MetricBatch]:
    """The rows in batches of at most 10,000 rows and about 1 MiB, in order.

    A row that is larger than the server takes is dropped with a warning.
    """
    for part in _parts(rows):
        batch = _batch(part)
        if batch.ByteSize() <= _MOST_BYTES:
            yield batch
        elif len(part) > 1:
            middle = len(part) // 2
            yield from pack(part[:middle])
            yield from pack(part[middle:])
        else:
            terminal.termwarn(f"the row of step {part[0].step} is larger than 3 MiB and is dropped")


def _parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    part: list[Row] = []
    size = 0
    for row in rows:
        if not 0 <= row.step <= _MAX_STEP:
            terminal.termwarn(
                f"step {row.step} is out of range (0 to 2^53): its row is dropped", repeat=False
            )
            continue
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
        columns=[
            _column(key, indexes, points, len(rows))
            for key, (indexes, points) in columns.items()
            if _fits(key)
        ],
    )


def _fits(key: str) -> bool:
    if key and len(key.encode("utf-8", "surrogatepass")) <= _KEY_BYTES:
        return True
    terminal.termwarn(
        f"the metric {key[:50]!r} has a name of no or more than 1,024 bytes: dropped", repeat=False
    )
    return False


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
