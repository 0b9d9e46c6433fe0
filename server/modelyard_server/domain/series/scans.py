"""The rows of few metrics of a run, read from their series instead of from whole batches.

A batch has every metric of its rows: of ten thousand metrics, all have to be read to
find one. A series has one metric. It holds numbers only, as doubles, so it serves
metrics that were logged as floats all the time, or as whole numbers up to 2^53.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard_server.db.engine import BINARY_RESULTS
from modelyard_server.db.tables import MetricBlock, MetricKey, MetricLog, MetricSegment
from modelyard_server.db.upserts import batches
from modelyard_server.domain.runs.metrics import DOUBLES, INTS
from modelyard_server.domain.series import blocks
from modelyard_server.domain.series.blocks import Floats, Ints

MOST_POINTS = 1 << 18
"""The most points of a scan: all of them are in memory at once."""
_BLOCKS = 200
"""Blocks that one statement reads."""


class SeriesColumn(NamedTuple):
    """A metric: the rows that have a point (None: all), and the points."""

    key: str
    rows: Ints | None
    points: Floats | Ints


class SeriesRows(NamedTuple):
    """Rows that have a point of some of the metrics, in the order of their steps."""

    steps: Ints
    times: Floats
    columns: Sequence[SeriesColumn]


class _Segment(NamedTuple):
    key: str
    kind: int
    rows: Ints | None
    points: Floats


def packed_rows(
    session: Session, log: MetricLog, keys: Collection[str], min_step: int, end_step: int | None
) -> list[SeriesRows] | None:
    """The packed rows of these metrics, by their first steps; None where only the batches have them.

    They have the batches up to the log's `packed_id`.
    """
    known = _keys(session, log, keys)
    if any(kind not in (DOUBLES, INTS) for _, kind, _ in known.values()):
        return None
    if sum(points for _, _, points in known.values()) > MOST_POINTS:
        return None
    found = [
        rows
        for block, segments in _blocks(session, known)
        if len((rows := _cut(block, segments, min_step, end_step)).steps)
    ]
    return sorted(found, key=lambda rows: int(rows.steps[0]))


def _keys(session: Session, log: MetricLog, keys: Collection[str]) -> dict[int, tuple[str, int | None, int]]:
    """Name, kinds and number of points of the metrics that have packed points, by id."""
    columns = (MetricKey.id, MetricKey.key, MetricKey.kinds, MetricKey.point_count)
    found: dict[int, tuple[str, int | None, int]] = {}
    for some in batches(sorted(keys)):
        own = select(*columns).where(MetricKey.log_id == log.id, MetricKey.key.in_(some))
        found |= {id_: (key, kinds, points) for id_, key, kinds, points in session.execute(own)}
    return found


def _blocks(
    session: Session, keys: Mapping[int, tuple[str, int | None, int]]
) -> Iterator[tuple[Any, list[_Segment]]]:
    """The rows of blocks that have segments of the metrics, each with those."""
    segments: dict[int, list[_Segment]] = {}
    columns = (MetricSegment.key_id, MetricSegment.block_id, MetricSegment.rows, MetricSegment.points)
    for some in batches(sorted(keys)):
        own = select(*columns).where(MetricSegment.key_id.in_(some))
        for key_id, block_id, rows, points in session.execute(own, execution_options=BINARY_RESULTS):
            key, kind, _ = keys[key_id]
            segment = _Segment(key, kind or 0, blocks.decode_rows(rows), blocks.decode_floats(points))
            segments.setdefault(block_id, []).append(segment)
    about = select(MetricBlock.id, MetricBlock.row_count, MetricBlock.steps, MetricBlock.times)
    for some_blocks in batches(sorted(segments), _BLOCKS):
        chosen = about.where(MetricBlock.id.in_(some_blocks)).order_by(MetricBlock.id)
        for block in session.execute(chosen, execution_options=BINARY_RESULTS):
            yield block, segments[block.id]


def _cut(block: Any, segments: Sequence[_Segment], min_step: int, end_step: int | None) -> SeriesRows:
    """The rows of a block within these steps that have a point of the segments."""
    steps = blocks.decode_steps(block.steps, block.row_count)
    first = int(np.searchsorted(steps, min_step))
    end = len(steps) if end_step is None else int(np.searchsorted(steps, end_step))
    kept = np.arange(first, max(first, end))
    if all(segment.rows is not None for segment in segments):
        some = np.unique(np.concatenate([segment.rows for segment in segments if segment.rows is not None]))
        kept = some[(some >= first) & (some < end)]
    columns = [_column(segment, kept) for segment in segments]
    times = blocks.decode_floats(block.times)
    return SeriesRows(steps[kept], times[kept], [column for column in columns if len(column.points)])


def _column(segment: _Segment, kept: Ints) -> SeriesColumn:
    """The points of a segment in the kept rows."""
    rows, points = segment.rows, segment.points
    if rows is None:
        places, points = None, points[kept]
    else:
        inside = np.isin(rows, kept, assume_unique=True)
        places, points = np.searchsorted(kept, rows[inside]), points[inside]
        if len(places) == len(kept):
            places = None
    exact = points.astype(np.int64) if segment.kind == INTS else points
    return SeriesColumn(segment.key, places, exact)
