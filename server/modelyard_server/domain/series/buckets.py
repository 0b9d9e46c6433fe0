"""Points and tiles of one metric, reduced to buckets of equal width. Pure computation over arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelyard_server.domain.series.blocks import Floats, Ints


@dataclass(frozen=True)
class Grid:
    """Buckets of equal width from `start` on. One of width 0 has a single bucket."""

    start: float
    width: float
    count: int
    is_vast: bool = False
    """Whether the range is wider than the largest number."""

    @classmethod
    def over(cls, start: float, end: float, count: int) -> Grid:
        """The grid from `start` to `end`."""
        if math.isfinite(end - start):
            return cls(start, (end - start) / count, count)
        return cls(start, end / count - start / count, count, is_vast=True)

    def buckets(self, x: Floats) -> Ints:
        """The bucket of each x, as an index that ascends with x; the last one has its end too."""
        if self.width == 0:
            return np.zeros(len(x), dtype=np.int64)
        if self.is_vast:
            places = x / self.width - self.start / self.width
        else:
            places = x - self.start
            places /= self.width
        index = places.astype(np.int64)  # x is at least `start`, so this is the floor
        return np.clip(index, 0, self.count - 1, out=index)


@dataclass(frozen=True)
class Pieces:
    """Groups of points of a metric, one array element each. They do not overlap; values are as in a tile."""

    first_x: Floats
    last_x: Floats
    counts: Floats
    nonfinite: Floats
    mins: Floats
    maxes: Floats
    firsts: Floats
    lasts: Floats
    sums: Floats
    min_xs: Floats
    max_xs: Floats
    first_value_xs: Floats
    last_value_xs: Floats

    @classmethod
    def of_sample(cls, sample: Sample) -> Pieces:
        """Each bucket is a piece."""
        empty = sample.counts == 0
        return cls(
            sample.first_xs,
            sample.last_xs,
            sample.counts.astype(np.float64),
            sample.nonfinite.astype(np.float64),
            np.where(empty, np.inf, sample.mins),
            np.where(empty, -np.inf, sample.maxes),
            sample.firsts,
            sample.lasts,
            np.where(empty, 0.0, sample.sums),
            sample.min_xs,
            sample.max_xs,
            sample.first_value_xs,
            sample.last_value_xs,
        )

    @classmethod
    def joined(cls, parts: Sequence[Pieces]) -> Pieces:
        """The pieces of all parts, in the order of x."""
        names = cls.__dataclass_fields__
        joined = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
        order = np.argsort(joined[0], kind="stable")
        return cls(*(column[order] for column in joined))


class Sample(NamedTuple):
    """The buckets of a metric that have points, in ascending order; otherwise as the contract describes."""

    grid: Grid
    buckets: Ints
    counts: Ints
    nonfinite: Ints
    mins: Floats
    maxes: Floats
    firsts: Floats
    lasts: Floats
    sums: Floats
    first_xs: Floats
    last_xs: Floats
    min_xs: Floats
    max_xs: Floats
    first_value_xs: Floats
    last_value_xs: Floats


def reduce(pieces: Pieces, grid: Grid) -> Sample:
    """The buckets of pieces, which are at least one and ascend; none of them lies in two buckets."""
    index = grid.buckets(pieces.first_x)
    starts = _starts(index)
    counts = np.add.reduceat(pieces.counts, starts)
    first_at, last_at = _finite_ends(pieces.counts > 0, starts)
    empty = counts == 0
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduceat(pieces.sums, starts)
    least_at = _first_extremes(np.minimum, pieces.mins, starts)
    largest_at = _first_extremes(np.maximum, pieces.maxes, starts)
    return Sample(
        grid,
        index[starts],
        counts.astype(np.int64),
        np.add.reduceat(pieces.nonfinite, starts).astype(np.int64),
        np.where(empty, np.nan, pieces.mins[least_at]),
        np.where(empty, np.nan, pieces.maxes[largest_at]),
        np.where(empty, np.nan, pieces.firsts[first_at]),
        np.where(empty, np.nan, pieces.lasts[last_at]),
        np.where(empty, np.nan, sums),
        pieces.first_x[starts],
        np.maximum.reduceat(pieces.last_x, starts),
        np.where(empty, np.nan, pieces.min_xs[least_at]),
        np.where(empty, np.nan, pieces.max_xs[largest_at]),
        np.where(empty, np.nan, pieces.first_value_xs[first_at]),
        np.where(empty, np.nan, pieces.last_value_xs[last_at]),
    )


def reduce_points(x: Floats, values: Floats, grid: Grid, breaks: Floats | None = None) -> Sample:
    """The buckets of points, which are at least one and ascend.

    No group lies on both sides of one of the `breaks`, so a bucket may appear several times.
    """
    index = grid.buckets(x)
    starts = _starts(index)
    if breaks is not None and len(breaks):
        cuts = np.searchsorted(x, breaks)
        starts = np.union1d(starts, cuts[cuts < len(x)])
    ends = np.append(starts[1:], len(x))
    finite = np.isfinite(values)
    every = bool(finite.all())
    counts = ends - starts if every else np.add.reduceat(finite, starts, dtype=np.int64)
    first_at, last_at = (starts, ends - 1) if every else _finite_ends(finite, starts)
    empty = counts == 0
    with np.errstate(over="ignore"):
        sums = np.add.reduceat(values if every else np.where(finite, values, 0.0), starts)
    least_at = _first_extremes(np.minimum, values if every else np.where(finite, values, np.inf), starts)
    largest_at = _first_extremes(np.maximum, values if every else np.where(finite, values, -np.inf), starts)
    return Sample(
        grid,
        index[starts],
        counts,
        ends - starts - counts,
        np.where(empty, np.nan, values[least_at]),
        np.where(empty, np.nan, values[largest_at]),
        np.where(empty, np.nan, values[first_at]),
        np.where(empty, np.nan, values[last_at]),
        np.where(empty, np.nan, sums),
        x[starts],
        x[ends - 1],
        np.where(empty, np.nan, x[least_at]),
        np.where(empty, np.nan, x[largest_at]),
        np.where(empty, np.nan, x[first_at]),
        np.where(empty, np.nan, x[last_at]),
    )


def _starts(index: Ints) -> Ints:
    """Where each bucket begins."""
    return np.append(0, np.flatnonzero(index[1:] != index[:-1]) + 1)


def _first_extremes(choose: np.ufunc, values: Floats, starts: Ints) -> Ints:
    """Where the first of the least or of the largest values of each group is; `values` has no NaN."""
    extremes = choose.reduceat(values, starts)
    sizes = np.diff(starts, append=len(values))
    places = np.flatnonzero(values == np.repeat(extremes, sizes))
    found: Ints = places[np.searchsorted(places, starts)]
    return found


def _finite_ends(finite: NDArray[np.bool_], starts: Ints) -> tuple[Ints, Ints]:
    """The first and the last finite element of each group; any where it has none."""
    places = np.arange(len(finite))
    first = np.minimum.reduceat(np.where(finite, places, len(finite)), starts)
    last = np.maximum.reduceat(np.where(finite, places, -1), starts)
    return np.minimum(first, len(finite) - 1), np.maximum(last, 0)
