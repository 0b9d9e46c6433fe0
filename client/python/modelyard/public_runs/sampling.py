"""Chooses rows of a run that show its course: evenly spaced ones, and the extremes of its metrics."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from modelyard.rpc.metric_scan import Batch, Column

Row = dict[str, Any]


def sample(batches: Iterable[Batch], count: int, *, by_time: bool = False) -> list[Row]:
    """At most `count` rows, all if there are no more; in no order.

    Half of them are spaced evenly by step, or by time. The others are the rows of the
    least and the largest values of each metric, in as many parts of the run as there is
    room for; with more than `count` / 4 metrics, those that came first.
    """
    sampler = _Sampler(count, by_time)
    for batch in batches:
        sampler.add(batch)
    return sampler.rows()


class _Spread:
    """At most one row for each part of the run, the one of the least rank. Parts grow as there are more."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.width = 1
        self._best: dict[int, tuple[float, Row]] = {}

    def offer(self, position: int, rank: float, make: Callable[[], Row]) -> None:
        """Takes the row if its part has none of a lower or the same rank."""
        part = position // self.width
        known = self._best.get(part)
        if known is None or rank < known[0]:
            self._best[part] = (rank, make())
            if known is None:
                self.shrink(self._limit)

    def shrink(self, limit: int) -> None:
        """Widens the parts until at most `limit` have a row."""
        self._limit = limit
        while len(self._best) > limit:
            self.width *= 2
            halves, self._best = self._best, {}
            for part, (rank, row) in halves.items():
                known = self._best.get(part // 2)
                if known is None or rank < known[0]:
                    self._best[part // 2] = (rank, row)
            if len(halves) == 1:  # and none is wanted
                self._best = {}

    def rows(self) -> Iterator[Row]:
        """The rows that were kept, by their parts."""
        return (self._best[part][1] for part in sorted(self._best))


class _Sampler:
    def __init__(self, count: int, by_time: bool) -> None:
        self._count = count
        self._by_time = by_time
        self._first: list[Row] | None = []
        """The rows as long as there are at most `count`."""
        self._even = _Spread(max(0, count - 1))
        self._extremes: dict[str, tuple[_Spread, _Spread]] = {}
        self._last: tuple[float, Row] | None = None

    def add(self, batch: Batch) -> None:
        """Takes the rows of a batch into account."""
        if not batch.steps:
            return
        rows: dict[int, Row] = {}

        def row(index: int) -> Callable[[], Row]:
            def make() -> Row:
                if index not in rows:
                    rows[index] = batch.row(index)
                return rows[index]

            return make

        self._keep_all(batch, row)
        positions = [int(time * 1000) for time in batch.times] if self._by_time else batch.steps
        for start, _ in _parts(positions, self._even):
            self._even.offer(positions[start], positions[start], row(start))
        if self._last is None or positions[-1] >= self._last[0]:
            self._last = (positions[-1], row(len(positions) - 1)())
        for key, column in batch.columns.items():
            if column.numeric and (spreads := self._spreads(key)):
                self._add_extremes(spreads, positions, column, row)

    def rows(self) -> list[Row]:
        """The rows that were chosen, each once."""
        if self._first is not None:
            return self._first
        chosen = [row for spreads in self._extremes.values() for spread in spreads for row in spread.rows()]
        chosen += [self._last[1]] if self._last else []
        distinct = {id(row): row for row in chosen}
        even = [row for row in self._even.rows() if id(row) not in distinct]
        room = self._count - len(distinct)
        if len(even) > room:
            even = [even[index * len(even) // room] for index in range(room)]
        return [*distinct.values(), *even]

    def _keep_all(self, batch: Batch, row: Callable[[int], Callable[[], Row]]) -> None:
        if self._first is None:
            return
        if len(self._first) + len(batch.steps) > self._count:
            self._first = None
        else:
            self._first += [row(index)() for index in range(len(batch.steps))]

    def _spreads(self, key: str) -> tuple[_Spread, _Spread] | None:
        """Where the least and largest values of a metric go; None if there are too many metrics."""
        found = self._extremes.get(key)
        if found is None and len(self._extremes) < self._count // 4:
            each = max(1, self._count // 4 // (len(self._extremes) + 1))
            found = self._extremes[key] = (_Spread(each), _Spread(each))
            for spreads in self._extremes.values():
                for spread in spreads:
                    spread.shrink(each)
        return found

    @staticmethod
    def _add_extremes(
        spreads: tuple[_Spread, _Spread],
        positions: Sequence[int],
        column: Column,
        row: Callable[[int], Callable[[], Row]],
    ) -> None:
        indexes, values, _ = column
        where = positions if len(indexes) == len(positions) else [positions[index] for index in indexes]
        for spread, choose, sign in ((spreads[0], min, 1), (spreads[1], max, -1)):
            for start, end in _parts(where, spread):
                part = values[start:end]
                finite: Sequence[float] = part
                if not math.isfinite(sum(part)):
                    finite = [value for value in part if math.isfinite(value)]
                if finite:
                    extreme = choose(finite)
                    index = start + _index(part, extreme)
                    spread.offer(where[index], sign * extreme, row(indexes[index]))


def _index(values: Sequence[float], wanted: float) -> int:
    return next(index for index, value in enumerate(values) if value == wanted)


def _parts(positions: Sequence[int], spread: _Spread) -> Iterator[tuple[int, int]]:
    """Begin and end of each stretch of positions that lies in one part of the spread."""
    start = 0
    while start < len(positions):
        end = bisect_left(positions, (positions[start] // spread.width + 1) * spread.width, start + 1)
        yield start, end
        start = end
