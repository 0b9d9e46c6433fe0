"""What is sampled of a metric."""

from __future__ import annotations

from typing import NamedTuple

STEP, TIMESTAMP, RUNTIME = "_step", "_timestamp", "_runtime"


class Query(NamedTuple):
    """The x axis, its range `min_x <= x < end_x`, and the number of buckets.

    x is the step, the time in seconds since 1970, the time in seconds since
    `started`, or the number that another metric has in the same row.
    """

    axis: str
    min_x: float | None
    end_x: float | None
    buckets: int
    started: float = 0.0


def is_of_rows(axis: str) -> bool:
    """Whether every row has this x; otherwise it is a metric."""
    return axis in {STEP, TIMESTAMP, RUNTIME}
