"""A sample of each metric, for the closing lines of a run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

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
        for keys, alike in groupby(rows, key=lambda row: row.keys):
            columns = zip(*(row.values for row in alike), strict=True)
            for key, column in zip(keys, columns, strict=True):
                self._add(key, column)

    def _add(self, key: str, column: Sequence[object]) -> None:
        numbers = [point for point in column if type(point) is float or type(point) is int]
        seen, stride = self._seen.get(key, 0), self._strides.get(key, 1)
        self._seen[key] = seen + len(numbers)
        if not numbers:
            return
        curve = self.points.setdefault(key, [])
        curve.extend(map(float, numbers[-seen % stride :: stride]))
        while len(curve) >= _POINTS:
            del curve[1::2]
            stride *= 2
        self._strides[key] = stride
