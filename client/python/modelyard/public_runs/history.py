"""The rows of a run for scripts: all of them, or a sample that shows its course."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from modelyard.public_runs import series
from modelyard.public_runs.sampling import sample
from modelyard.rpc import metric_scan
from modelyard.rpc.connection import Connection
from modelyard.rpc.metric_scan import AUTOMATIC, Source

Row = dict[str, Any]
_MOST_SAMPLED = 20_000
"""More samples are taken from the rows: the server makes at most 10,000 buckets."""


def sampled(
    connection: Connection, source: Source, samples: int, keys: Sequence[str] | None, x_axis: str
) -> list[Row]:
    """At most `samples` rows, in the order of `x_axis`; see `sampling`.

    With `keys`, rows that have all of them, with `x_axis` and these; one metric with
    very many points is sampled by the server. ValueError for less than one sample.
    """
    if samples < 1:
        raise ValueError(f"samples is at least 1, not {samples}")
    wanted = list(dict.fromkeys([x_axis, *keys])) if keys else []
    if len(wanted) == 2 and x_axis in AUTOMATIC and 4 <= samples <= _MOST_SAMPLED:
        points = series.points(connection, source, wanted[1], x_axis, samples)
        if points is not None:
            of_x = int if x_axis == "_step" else float
            return [{x_axis: of_x(x), wanted[1]: value} for x, value in points]
    found = sample(
        metric_scan.batches(connection, source, wanted),
        samples,
        by_time=source.system or x_axis == "_timestamp",
    )
    rows = [
        row for row in found if _position(row, x_axis) is not None and (keys or row.keys() - {*AUTOMATIC})
    ]
    return sorted(rows, key=lambda row: (_position(row, x_axis), row.get("_timestamp", 0)))


def as_frame(rows: list[Row], pandas: bool) -> Any:
    """A DataFrame where pandas is wanted and installed; else the rows."""
    if pandas and importlib.util.find_spec("pandas"):
        return importlib.import_module("pandas").DataFrame(rows)
    return rows


def _position(row: Row, x_axis: str) -> float | None:
    value = row.get(x_axis)
    return float(value) if isinstance(value, int | float) and value == value else None
