"""Rows as messages with one column for each metric, which are not much larger than the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelyard.rpc.messages import value_message
from modelyard.spool.rows import Row
from modelyard.v1 import metric_pb2 as pb


def batch(rows: Sequence[Row]) -> pb.MetricBatch:
    """The message of some rows. Errors of any kind for values that cannot be sent."""
    steps, timestamps = [row.step for row in rows], [row.timestamp for row in rows]
    keys = rows[0].keys
    if all(row.keys is keys for row in rows):
        columns = [
            _column(key, (), points)
            for key, points in zip(keys, zip(*(row.values for row in rows), strict=True), strict=True)
        ]
    else:
        columns = _sparse_columns(rows)
    return pb.MetricBatch(steps=steps, timestamps=timestamps, columns=columns)


def _sparse_columns(rows: Sequence[Row]) -> list[pb.MetricColumn]:
    columns: dict[str, tuple[list[int], list[Any]]] = {}
    for index, row in enumerate(rows):
        for key, point in zip(row.keys, row.values, strict=True):
            column = columns.get(key)
            if column is None:
                column = columns[key] = ([], [])
            column[0].append(index)
            column[1].append(point)
    return [
        _column(key, () if len(indexes) == len(rows) else indexes, points)
        for key, (indexes, points) in columns.items()
    ]


def _column(key: str, indexes: Sequence[int], points: Sequence[Any]) -> pb.MetricColumn:
    column = pb.MetricColumn(key=key, rows=indexes)
    kinds = set(map(type, points))
    if kinds == {float}:
        column.doubles.extend(points)
    elif kinds == {int}:
        column.ints.extend(points)
    else:
        column.values.extend([value_message(point) for point in points])
    return column
