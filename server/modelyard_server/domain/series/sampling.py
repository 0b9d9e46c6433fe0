"""Metrics reduced to buckets: from tiles where a block lies in one bucket, from its points elsewhere.

So the buckets are exact, and a sample reads at most about one block for each bucket,
however many points there are. Over another metric as x every point is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db.engine import BINARY_RESULTS
from modelyard_server.db.tables import MetricBlock, MetricKey, MetricLog, MetricSegment
from modelyard_server.db.upserts import batches
from modelyard_server.domain.runs.metrics import Decode
from modelyard_server.domain.series import blocks, logs
from modelyard_server.domain.series.blocks import Block, Floats, Ints
from modelyard_server.domain.series.buckets import Grid, Pieces, Sample, reduce, reduce_points
from modelyard_server.domain.series.query import RUNTIME, STEP, Query, is_of_rows

MOST_POINTS = 4_000_000
"""The most points over another metric: all of them are in memory at once."""
_PART_POINTS = 1 << 20
"""About how many points are in memory at once otherwise."""
_BLOCKS_KEPT = 512
"""Blocks whose steps and times stay in memory for the next metric."""
_SEGMENTS = 200
"""Segments that one statement reads."""


class _Metric(NamedTuple):
    """The segments of a metric, in the order of their arrival: where each lies, and its tile.

    `ids` are those of stored segments; a negative one counts the blocks of waiting rows.
    """

    key: str
    ids: Ints
    block_ids: Ints
    tiles: Floats


def sample(
    session: Session, log: MetricLog, keys: Sequence[str], query: Query, decode: Decode
) -> Iterator[tuple[str, Sample]]:
    """The samples of those metrics that have points in the range, in the order of the keys."""
    axis = query.axis
    series = _Series(session, log, decode, keys if is_of_rows(axis) else {*keys, axis})
    x_metric = None if is_of_rows(axis) else series.metrics.get(axis)
    for key in keys:
        metric = series.metrics.get(key)
        if metric is None:
            continue
        if is_of_rows(axis):
            found = _over_rows(series, metric, query)
        else:
            found = _over_metric(series, metric, x_metric, query) if x_metric else None
        if found is not None:
            yield key, found


class _Series:
    """The metrics of a log, within one transaction that sees one state of it."""

    def __init__(self, session: Session, log: MetricLog, decode: Decode, keys: Collection[str]) -> None:
        self._session = session
        wanted = set(keys)
        waiting = [decode(payload, wanted) for payload in logs.waiting(session, log)]
        self._waiting: list[Block] = blocks.cut(waiting) if waiting else []
        self._steps: dict[int, Ints] = {-1 - n: block.steps for n, block in enumerate(self._waiting)}
        self._times: dict[int, Floats] = {-1 - n: block.times for n, block in enumerate(self._waiting)}
        self.metrics: Mapping[str, _Metric] = self._find(log, keys)

    def _find(self, log: MetricLog, keys: Collection[str]) -> dict[str, _Metric]:
        found: dict[str, list[tuple[int, int, tuple[bytes, bytes | None]]]] = {}
        if log.packed_id:
            for some in batches(sorted(keys)):
                segments = self._session.execute(
                    select(
                        MetricKey.key,
                        MetricSegment.id,
                        MetricSegment.block_id,
                        MetricSegment.tile,
                        MetricSegment.places,
                    )
                    .join(MetricKey, MetricSegment.key_id == MetricKey.id)
                    .where(MetricKey.log_id == log.id, MetricKey.key.in_(some))
                    .order_by(MetricKey.id, MetricSegment.block_id),
                    execution_options=BINARY_RESULTS,
                )
                for key, id_, block_id, tile, places in segments:
                    found.setdefault(key, []).append((id_, block_id, (tile, places)))
        for number, block in enumerate(self._waiting):
            for key, own in block.segments.items():
                found.setdefault(key, []).append((-1 - number, -1 - number, blocks.encode_tile(own.tile)))
        return {
            key: _Metric(
                key,
                np.array([segment[0] for segment in segments], dtype=np.int64),
                np.array([segment[1] for segment in segments], dtype=np.int64),
                blocks.decode_tiles([segment[2] for segment in segments]),
            )
            for key, segments in found.items()
        }

    def points(self, metric: _Metric, which: Ints) -> _Points:
        """The points of some segments of a metric."""
        stored: dict[int, tuple[bytes, bytes]] = {}
        for some in batches([id_ for id_ in metric.ids[which].tolist() if id_ > 0], _SEGMENTS):
            chosen = select(MetricSegment.id, MetricSegment.rows, MetricSegment.points)
            for id_, rows, values in self._session.execute(
                chosen.where(MetricSegment.id.in_(some)), execution_options=BINARY_RESULTS
            ):
                stored[id_] = rows, values
        parts: list[tuple[int, Ints | None, Floats]] = []
        for id_, block_id in zip(metric.ids[which].tolist(), metric.block_ids[which].tolist(), strict=True):
            if id_ > 0:
                place, packed = stored[id_]
                parts.append((block_id, blocks.decode_rows(place), blocks.decode_floats(packed)))
            else:
                segment = self._waiting[-1 - id_].segments[metric.key]
                parts.append((block_id, segment.rows, segment.values))
        return _Points(self, parts)

    def steps(self, block_ids: Sequence[int]) -> Mapping[int, Ints]:
        """The steps of the rows of blocks."""
        _make_room(self._steps, block_ids)
        for some in batches([id_ for id_ in block_ids if id_ not in self._steps], _SEGMENTS):
            chosen = select(MetricBlock.id, MetricBlock.row_count, MetricBlock.steps)
            for id_, count, data in self._session.execute(
                chosen.where(MetricBlock.id.in_(some)), execution_options=BINARY_RESULTS
            ):
                self._steps[id_] = blocks.decode_steps(data, count)
        return self._steps

    def times(self, block_ids: Sequence[int]) -> Mapping[int, Floats]:
        """The times of the rows of blocks."""
        _make_room(self._times, block_ids)
        for some in batches([id_ for id_ in block_ids if id_ not in self._times], _SEGMENTS):
            chosen = select(MetricBlock.id, MetricBlock.times)
            for id_, data in self._session.execute(
                chosen.where(MetricBlock.id.in_(some)), execution_options=BINARY_RESULTS
            ):
                self._times[id_] = blocks.decode_floats(data)
        return self._times


@dataclass(frozen=True)
class _Points:
    """Points of segments: for each its block, its rows (None: all) and its values."""

    series: _Series
    parts: Sequence[tuple[int, Ints | None, Floats]]

    @property
    def values(self) -> Floats:
        """The values of all points."""
        return np.concatenate([values for _, _, values in self.parts])

    def steps(self) -> Floats:
        """The step of each point."""
        steps = self.series.steps([part[0] for part in self.parts])
        own = [steps[id_] if rows is None else steps[id_][rows] for id_, rows, _ in self.parts]
        return np.concatenate(own).astype(np.float64)

    def times(self) -> Floats:
        """The time of each point."""
        times = self.series.times([part[0] for part in self.parts])
        return np.concatenate(
            [times[id_] if rows is None else times[id_][rows] for id_, rows, _ in self.parts]
        )


def _make_room(kept: dict[int, Any], wanted: Sequence[int]) -> None:
    """Forgets stored blocks that are not wanted, if many are kept."""
    if len(kept) > _BLOCKS_KEPT:
        for id_ in kept.keys() - set(wanted):
            if id_ > 0:
                del kept[id_]


def _over_rows(series: _Series, metric: _Metric, query: Query) -> Sample | None:
    """A sample over steps or times."""
    tiles = metric.tiles
    over_steps = query.axis == STEP
    first, last = (
        (tiles[:, blocks.FIRST_STEP], tiles[:, blocks.LAST_STEP])
        if over_steps
        else (_x(tiles[:, blocks.LEAST_TIME], query), _x(tiles[:, blocks.LARGEST_TIME], query))
    )
    inside = _inside(first, last, query)
    if not inside.any():
        return None
    grid = _grid(first, last, query)
    whole = inside & (grid.buckets(first) == grid.buckets(last)) & ~_partly(first, last, query)
    whole &= _apart(first, last, inside) & ~np.isnan(tiles[:, blocks.PLACES[blocks.MIN]])
    if not over_steps:
        whole &= tiles[:, blocks.TIMES_ASCEND] == 1
    tiled = _pieces_of_tiles(first[whole], last[whole], tiles[whole], query)
    parts = [tiled]
    raw = inside & ~whole
    for part in _in_parts(first, last, raw, tiles[:, blocks.COUNT] + tiles[:, blocks.NONFINITE]):
        # Of equal points, the first to arrive comes first.
        x, values = _sorted_points(series.points(metric, np.sort(part)), query)
        if len(x):
            parts.append(Pieces.of_sample(reduce_points(x, values, grid, tiled.first_x)))
    pieces = Pieces.joined(parts)
    return reduce(pieces, grid) if len(pieces.first_x) else None


def _in_parts(first: Floats, last: Floats, which: NDArray[np.bool_], points: Floats) -> Iterator[Ints]:
    """Some of the ranges in parts of about a million points that do not overlap each other."""
    order = np.flatnonzero(which)[np.argsort(first[which], kind="stable")]
    if not len(order):
        return
    free = first[order][1:] > np.maximum.accumulate(last[order])[:-1]
    begin = total = 0
    for index, count in enumerate(points[order].tolist()):
        if total + count > _PART_POINTS and index > begin and free[index - 1]:
            yield order[begin:index]
            begin, total = index, 0
        total += count
    yield order[begin:]


def _over_metric(series: _Series, metric: _Metric, axis: _Metric, query: Query) -> Sample | None:
    """A sample over the finite numbers that another metric has in the same rows."""
    tiles = axis.tiles
    useful = (tiles[:, blocks.COUNT] > 0) & _inside(tiles[:, blocks.MIN], tiles[:, blocks.MAX], query)
    both = np.intersect1d(axis.block_ids[useful], metric.block_ids)
    _check_points(metric.tiles[np.isin(metric.block_ids, both), blocks.COUNT].sum(), query)
    own = series.points(metric, np.flatnonzero(np.isin(metric.block_ids, both)))
    other = series.points(axis, np.flatnonzero(np.isin(axis.block_ids, both)))
    if not own.parts:
        return None
    steps = series.steps([part[0] for part in own.parts])
    x = np.concatenate(
        [
            _matched(part, x_part, len(steps[part[0]]))
            for part, x_part in zip(own.parts, other.parts, strict=True)
        ]
    )
    kept = np.isfinite(x)
    kept &= _inside(x, x, query)
    if not kept.any():
        return None
    x, values = x[kept], own.values[kept]
    order = blocks.sorted_by(x, own.steps()[kept], own.times()[kept])
    if order is not None:
        x, values = x[order], values[order]
    return reduce_points(x, values, _grid(x, x, query))


def _check_points(count: float, query: Query) -> None:
    if count > MOST_POINTS:
        raise errors.InvalidField.of(
            "x_axis",
            f"{query.axis[:50]!r}: there are {count:,.0f} points over this metric, and at most "
            f"{MOST_POINTS:,} are sorted; ask for a range of it, or take _step",
        )


def _matched(
    part: tuple[int, Ints | None, Floats], axis: tuple[int, Ints | None, Floats], row_count: int
) -> Floats:
    """The x of each point of a segment; NaN where the axis has none."""
    _, rows, _ = part
    _, axis_rows, axis_values = axis
    x = axis_values
    if axis_rows is not None:
        x = np.full(row_count, np.nan)
        x[axis_rows] = axis_values
    return x if rows is None else x[rows]


def _x(times: Floats, query: Query) -> Floats:
    return times - query.started if query.axis == RUNTIME else times


def _inside(first: Floats, last: Floats, query: Query) -> NDArray[np.bool_]:
    """Which of the ranges have x within the query's range."""
    inside = np.ones(len(first), dtype=np.bool_)
    if query.min_x is not None:
        inside &= last >= query.min_x
    if query.end_x is not None:
        inside &= first < query.end_x
    return inside


def _partly(first: Floats, last: Floats, query: Query) -> NDArray[np.bool_]:
    """Which of the ranges may have x outside of the query's range."""
    outside = np.zeros(len(first), dtype=np.bool_)
    if query.min_x is not None:
        outside |= first < query.min_x
    if query.end_x is not None:
        outside |= last >= query.end_x
    return outside


def _grid(first: Floats, last: Floats, query: Query) -> Grid:
    start = float(first.min()) if query.min_x is None else query.min_x
    end = float(last.max()) if query.end_x is None else query.end_x
    return Grid.over(start, end, query.buckets)


def _apart(first: Floats, last: Floats, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the ranges neither overlap nor touch another one."""
    apart = inside.copy()
    order = np.flatnonzero(inside)[np.argsort(first[inside], kind="stable")]
    first, last = first[order], last[order]
    touching = first[1:] <= np.maximum.accumulate(last)[:-1]
    apart[order[1:][touching]] = False
    apart[order[:-1][last[:-1] >= first[1:]]] = False
    return apart


def _pieces_of_tiles(first: Floats, last: Floats, tiles: Floats, query: Query) -> Pieces:
    over_steps = query.axis == STEP
    places = (
        tiles[:, place] if over_steps else _x(tiles[:, place + 1], query) for place in blocks.PLACES.values()
    )
    return Pieces(
        first,
        last,
        *(
            tiles[:, number]
            for number in (
                blocks.COUNT,
                blocks.NONFINITE,
                blocks.MIN,
                blocks.MAX,
                blocks.FIRST,
                blocks.LAST,
                blocks.SUM,
            )
        ),
        *places,
    )


def _sorted_points(points: _Points, query: Query) -> tuple[Floats, Floats]:
    """The x and the values of points within the range, in the order of x, then of times or steps."""
    over_steps = query.axis == STEP
    x = points.steps() if over_steps else _x(points.times(), query)
    values = points.values
    if not (x[:-1] < x[1:]).all():
        # What orders equal x is read only here: it is as large as the points.
        order = blocks.sorted_by(x, points.times() if over_steps else points.steps())
        if order is not None:
            x, values = x[order], values[order]
    if query.min_x is not None or query.end_x is not None:
        kept = ~_partly(x, x, query)
        x, values = x[kept], values[kept]
    return x, values
