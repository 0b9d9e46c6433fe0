"""Metrics: batches and blocks can be decoded, and each block has the rows of the batches before it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.message import DecodeError
from sqlalchemy import Table, and_, exists, func, select

from modelyard.v1 import metric_pb2 as pb
from modelyard_server.db import tables
from modelyard_server.fsck.scan import BYTES_ROWS, Groups, Scan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_B, _G, _K, _BL, _S, _RR = (
    cast(Table, row.__table__)
    for row in (
        tables.MetricBatch,
        tables.MetricLog,
        tables.MetricKey,
        tables.MetricBlock,
        tables.MetricSegment,
        tables.RunRemoval,
    )
)
_TILE = 12
"""Numbers of a tile: how many points are finite, how many not, the least, the largest, first, last, …."""
_PLACES = 8
_BATCHES = select(
    _B.c.id, _B.c.run_id, _B.c.payload, _B.c.row_count, _B.c.first_step, _B.c.last_step
).order_by(_B.c.id)
_BLOCKS = (
    select(_BL.c.id, _G.c.run_id, _BL.c.row_count, _BL.c.point_count, _BL.c.steps, _BL.c.times)
    .join_from(_BL, _G, _G.c.id == _BL.c.log_id)
    .order_by(_BL.c.id)
)
_SEGMENTS = select(_S.c.block_id, _S.c.tile, _S.c.places, _S.c.rows, _S.c.points).order_by(_S.c.block_id)
_KEPT = ~exists().where(_RR.c.run_id == _G.c.run_id)
"""Of runs whose rows are not being removed."""
_PACKED = (
    select(func.coalesce(func.sum(_B.c.row_count), 0))
    .where(
        and_(_B.c.run_id == _G.c.run_id, _B.c.attempt == _G.c.attempt, _B.c.stream == _G.c.stream),
        _B.c.id <= _G.c.packed_id,
    )
    .scalar_subquery()
)
_IN_BLOCKS = (
    select(func.coalesce(func.sum(_BL.c.row_count), 0)).where(_BL.c.log_id == _G.c.id).scalar_subquery()
)
_LOGS = select(_G.c.id, _G.c.run_id, _PACKED, _IN_BLOCKS).where(_KEPT)
_KEYS = (
    select(
        _K.c.id,
        _G.c.run_id,
        _K.c.key,
        _K.c.number_count,
        func.coalesce(func.sum(func.length(_S.c.points)), 0),
    )
    .join_from(_K, _G, _G.c.id == _K.c.log_id)
    .outerjoin(_S, _S.c.key_id == _K.c.id)
    .where(_KEPT)
    .group_by(_K.c.id, _G.c.run_id, _K.c.key, _K.c.number_count)
)


def check(scan: Scan) -> None:
    """Checks every batch and every block, and that they agree."""
    for id_, run_id, payload, *said in scan.rows(_BATCHES, at_once=BYTES_ROWS, counted=True):
        problem = _batch_problem(payload, said)
        if problem:
            _add(scan, run_id, f"a batch {problem}", batch=id_)
    segments = Groups(scan.rows(_SEGMENTS, at_once=BYTES_ROWS))
    for block in scan.rows(_BLOCKS, at_once=BYTES_ROWS, counted=True):
        problem = _block_problem(block[2:], segments.take(block[0]))
        if problem:
            _add(scan, block[1], f"a block {problem}", block=block[0])
    for id_, run_id, packed, in_blocks in scan.rows(_LOGS):
        if packed != in_blocks:
            _add(scan, run_id, f"{packed} rows are packed, and blocks have {in_blocks}", log=id_)
    for id_, run_id, key, numbers, length in scan.rows(_KEYS):
        if length != 8 * numbers:
            _add(scan, run_id, f"{key!r} has {numbers} numbers, and blocks have {length / 8:g}", key=id_)


def _add(scan: Scan, run_id: str, problem: str, **about: int) -> None:
    scan.add("metrics_broken", f"metrics of the run {run_id}: {problem}", {"run_id": run_id, **about})


def _batch_problem(payload: bytes, said: Sequence[int]) -> str:
    try:
        batch = pb.MetricBatch.FromString(payload)
    except DecodeError:
        return "cannot be decoded"
    steps = list(batch.steps)
    if [len(steps), *steps[:1], *steps[-1:]] != list(said):
        return f"has other rows or steps than {said}"
    if len(batch.timestamps) != len(steps) or steps != sorted(steps):
        return "has steps without times, or in another order"
    for column in batch.columns:
        points = len(column.doubles) + len(column.ints) + len(column.values)
        if points != (len(column.rows) or len(steps)) or any(row >= len(steps) for row in column.rows):
            return f"has a column {column.key!r} that does not fit its rows"
    return ""


def _block_problem(block: Sequence[Any], segments: Iterator[Any]) -> str:
    row_count, point_count, steps, times = block
    try:
        step_count = _step_count(steps, row_count)
        problems = [_segment_problem(*segment[1:], row_count=row_count) for segment in segments]
    except (struct.error, ValueError) as error:
        return f"cannot be decoded ({type(error).__name__})"
    if step_count != row_count or len(times) != 8 * row_count:
        return f"has {step_count} steps and {len(times) / 8:g} times for {row_count} rows"
    points = sum(count for count, _ in problems)
    if points != point_count:
        return f"has {points} points, and its row says {point_count}"
    return next((problem for _, problem in problems if problem), "")


def _step_count(data: bytes, row_count: int) -> int:
    """How many steps are encoded: evenly spaced, or the first one and differences of some bytes each."""
    size: int = struct.unpack_from("<Bq", data)[0]
    if size == 0:
        struct.unpack("<Bqq", data)
        return row_count
    if size not in (1, 2, 4, 8) or (len(data) - 9) % size:
        raise ValueError(size)
    return 1 + (len(data) - 9) // size


def _segment_problem(
    tile: bytes, places: bytes | None, rows: bytes, points: bytes, *, row_count: int
) -> tuple[int, str]:
    """How many points a segment has, and what is wrong with it. Raises ValueError."""
    import numpy as np  # only where metrics were packed, which needs it too

    values: Floats = np.frombuffer(points, "<f8")
    inside = np.frombuffer(rows, "<u2") if rows else np.arange(row_count)
    if len(inside) != len(values) or (len(inside) and int(inside.max()) >= row_count):
        return len(values), "has a segment whose points do not fit its rows"
    if len(tile) != 8 * _TILE or (places is not None and len(places) != 8 * _PLACES):
        return len(values), "has a tile of another size"
    finite = values[np.isfinite(values)]
    expected = [len(finite), len(values) - len(finite)]
    if len(finite):
        expected += [finite.min(), finite.max(), finite[0], finite[-1]]
    found = np.frombuffer(tile, "<f8")[: len(expected)]
    if not np.array_equal(found, np.array(expected, dtype=np.float64)):
        return len(values), "has a tile that does not summarize its points"
    return len(values), ""
