"""Metrics kept as plain lists of points, and their samples computed in the simplest way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard.v1 import metric_pb2 as pb


@dataclass
class LoggedRow:
    """A row: its step and time, when it arrived, and its points."""

    step: int
    time: float
    arrival: int
    points: dict[str, Any]


@dataclass
class MetricOracle:
    """What was logged to one stream of a run."""

    started: float = 0.0
    rows: list[LoggedRow] = field(default_factory=list)

    def add(self, steps: Sequence[int], times: Sequence[float], points: Sequence[dict[str, Any]]) -> None:
        """Adds the rows of a batch."""
        for step, time, own in zip(steps, times, points, strict=True):
            self.rows.append(LoggedRow(step, time, len(self.rows), own))

    def sample(
        self, key: str, axis: str, min_x: float | None, end_x: float | None, buckets: int
    ) -> dict[str, Any] | None:
        """The fields of SampleMetricsResponse; None without points in the range."""
        found = []
        for row in self.rows:
            value, x = row.points.get(key), self._x(row, axis)
            if not is_number(value) or x is None or not math.isfinite(x):
                continue
            if (min_x is None or x >= min_x) and (end_x is None or x < end_x):
                order = (x, row.step, row.time) if axis != "_step" else (x, row.time)
                found.append(((*order, row.arrival), x, float(value)))
        if not found:
            return None
        found.sort(key=lambda point: point[0])
        # The range goes over all points of the series where the query has no bound.
        start = found[0][1] if min_x is None else min_x
        end = found[-1][1] if end_x is None else end_x
        return _reduced([(x, value) for _, x, value in found], start, end, buckets)

    def _x(self, row: LoggedRow, axis: str) -> float | None:
        if axis == "_step":
            return float(row.step)
        if axis == "_timestamp":
            return row.time
        if axis == "_runtime":
            return row.time - self.started
        x = row.points.get(axis)
        return float(x) if is_number(x) else None


def is_number(value: object) -> bool:
    """Whether a point is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reduced(points: Sequence[tuple[float, float]], start: float, end: float, count: int) -> dict[str, Any]:
    width = (end - start) / count
    buckets: dict[int, list[tuple[float, float]]] = {}
    for x, value in points:
        bucket = 0 if width == 0 else min(max(math.floor((x - start) / width), 0), count - 1)
        buckets.setdefault(bucket, []).append((x, value))
    finite = {bucket: [v for _, v in own if math.isfinite(v)] for bucket, own in buckets.items()}
    nothing = math.nan
    return {
        "start_x": start,
        "bucket_width": width,
        "point_count": len(points),
        "buckets": list(buckets),
        "counts": [len(own) for own in finite.values()],
        "nonfinite_counts": [len(own) - len(finite[bucket]) for bucket, own in buckets.items()],
        "mins": [min(own, default=nothing) for own in finite.values()],
        "maxes": [max(own, default=nothing) for own in finite.values()],
        "firsts": [own[0] if own else nothing for own in finite.values()],
        "lasts": [own[-1] if own else nothing for own in finite.values()],
        "sums": [math.fsum(own) if own else nothing for own in finite.values()],
        "first_xs": [own[0][0] for own in buckets.values()],
        "last_xs": [own[-1][0] for own in buckets.values()],
        "min_xs": [_first_x(own, min) for own in buckets.values()],
        "max_xs": [_first_x(own, max) for own in buckets.values()],
        "first_value_xs": [next(_finite_xs(own), nothing) for own in buckets.values()],
        "last_value_xs": [next(_finite_xs(own[::-1]), nothing) for own in buckets.values()],
    }


def _first_x(points: Sequence[tuple[float, float]], choose: Callable[[Iterable[float]], float]) -> float:
    """x of the first of the least or largest finite values; NaN without any."""
    finite = [value for _, value in points if math.isfinite(value)]
    return next(x for x, value in points if value == choose(finite)) if finite else math.nan


def _finite_xs(points: Sequence[tuple[float, float]]) -> Iterator[float]:
    return (x for x, value in points if math.isfinite(value))


def differences(found: pb.SampleMetricsResponse, expected: dict[str, Any]) -> list[str]:
    """The names of the fields that differ. Sums may differ by rounding."""
    wrong = []
    for name, value in expected.items():
        own = getattr(found, name)
        if not isinstance(value, list):
            same = own == value
        elif name == "sums":
            same = len(own) == len(value) and all(map(_is_near, own, value))
        else:
            same = len(own) == len(value) and all(map(_is_same, own, value))
        if not same:
            wrong.append(name)
    return wrong


def _is_same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _is_near(one: float, other: float) -> bool:
    return _is_same(one, other) or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)
