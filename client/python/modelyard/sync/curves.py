"""A sample of each metric, for the closing lines of a run."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.spool.rows import Row

_POINTS = 200


class Curves:
    """At most 200 points of each metric, evenly over all rows."""

    def __init__(self) -> None:
        self.points: dict[str, list[float]] = {}
        self._strides: dict[str, int] = {}
        self._seen: dict[str, int] = {}

    def add(self, rows: Sequence[Row]) -> None:
        """Takes rows."""
        for row in rows:
            for key, point in zip(row.keys, row.values, strict=True):
                if type(point) is float or type(point) is int:
                    self._add(key, point)

    def _add(self, key: str, point: float) -> None:
        seen = self._seen[key] = self._seen.get(key, -1) + 1
        stride = self._strides.get(key, 1)
        if seen % stride:
            return
        curve = self.points.setdefault(key, [])
        curve.append(float(point))
        if len(curve) >= _POINTS:
            del curve[1::2]
            self._strides[key] = stride * 2
