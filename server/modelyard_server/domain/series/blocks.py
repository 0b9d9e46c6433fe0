"""Rows of metrics as blocks: sorted, cut, and with a summary of each metric in them.

A block has at most 4,096 rows: their steps and times, and a segment for each
metric with numbers: the points, packed, and a tile, which summarizes them. Pure
computation over arrays; nothing here knows the database.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from modelyard_server.domain.runs.metrics import Column, Rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK_ROWS = 4096
BLOCK_POINTS = 1 << 20
"""A block of very many metrics has fewer rows, so that one fits into memory easily."""

(
    COUNT,
    NONFINITE,
    MIN,
    MAX,
    FIRST,
    LAST,
    SUM,
    FIRST_STEP,
    LAST_STEP,
    LEAST_TIME,
    LARGEST_TIME,
    TIMES_ASCEND,
) = range(12)
"""The numbers of a tile.

How many points are finite and how many are not; of the finite ones the least (else
infinity), the largest (else -infinity), the first and the last in the order of rows
(else NaN) and the sum; the range of steps and of times; 1 if the times do not descend.
"""
PLACES = {MIN: 12, MAX: 14, FIRST: 16, LAST: 18}
"""Where a tile has the step of each of these values, and after it the time; of equal extremes the first.

They are NaN in a tile that an earlier release stored, and anything where no point is finite.
"""
TILE_WIDTH = 20
_VALUES = 12


@dataclass(frozen=True)
class Segment:
    """The numbers of one metric in a block. `rows` is None if every row has one."""

    rows: Ints | None
    values: Floats
    tile: Floats


@dataclass(frozen=True)
class Block:
    """Rows in the order of steps, then of times, then of their arrival."""

    steps: Ints
    times: Floats
    segments: Mapping[str, Segment]

    @property
    def point_count(self) -> int:
        """Points of all segments."""
        return sum(len(segment.values) for segment in self.segments.values())


@dataclass
class _Column:
    """The numbers of a metric, as they come: `spans` are (first row, rows within, how many)."""

    values: list[float] = field(default_factory=list)
    spans: list[tuple[int, Sequence[int] | None, int]] = field(default_factory=list)

    def rows(self) -> Ints:
        """The row of each value."""
        parts = [
            np.arange(first, first + count) if rows is None else np.asarray(rows, dtype=np.int64) + first
            for first, rows, count in self.spans
        ]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


def cut(batches: Sequence[Rows]) -> list[Block]:
    """The rows of all batches, in the order of their arrival, as blocks."""
    steps = np.concatenate([np.array(batch.steps, dtype=np.int64) for batch in batches])
    times = np.concatenate([np.array(batch.times, dtype=np.float64) for batch in batches])
    columns = _columns(batches)
    points = sum(len(column.values) for column in columns.values())
    size = BLOCK_ROWS if points <= BLOCK_POINTS else max(1, BLOCK_POINTS * len(steps) // points)
    size = min(size, BLOCK_ROWS)
    order = sorted_by(steps, times)
    if order is not None:
        steps, times = steps[order], times[order]
    places = None if order is None else _inverse(order)
    starts = range(0, len(steps), size)
    segments: list[dict[str, Segment]] = [{} for _ in starts]
    _cut_dense(columns, order, steps, times, size, segments)
    for key, column in columns.items():
        if len(column.values) < len(steps):
            _cut_sparse(key, column, places, steps, times, size, segments)
    return [
        Block(steps[start : start + size], times[start : start + size], own)
        for start, own in zip(starts, segments, strict=True)
    ]


def sorted_by(*keys: Floats | Ints) -> Ints | None:
    """The stable order by the first key, then by the next ones; None if it is the present one."""
    tied: NDArray[np.bool_] | None = None
    for key in keys:
        before, after = key[:-1], key[1:]
        wrong = before > after
        if (wrong if tied is None else wrong & tied).any():
            return np.lexsort(keys[::-1])
        same = before == after
        tied = same if tied is None else tied & same
        if not tied.any():
            return None
    return None


def tile_of(values: Floats, steps: Ints, times: Floats) -> Floats:
    """The tile of points, which are at least one; `steps` ascend."""
    tile: Floats = _tiles(values.reshape(1, -1), steps, times)[0]
    return tile


def encode_steps(steps: Ints) -> bytes:
    """Ascending steps: the first, and the differences in as few bytes as they need."""
    differences = np.diff(steps)
    first = int(steps[0])
    if not len(differences) or (differences == differences[0]).all():
        stride = int(differences[0]) if len(differences) else 0
        return _EVEN.pack(0, first, stride)
    largest = int(differences.max())
    size = next(size for size in (1, 2, 4, 8) if largest < 1 << 8 * size)
    return _STEPS.pack(size, first) + differences.astype(f"<u{size}").tobytes()


def decode_steps(data: bytes, count: int) -> Ints:
    """The steps that `encode_steps` encoded."""
    size, first = _STEPS.unpack_from(data)
    if size == 0:
        stride = _EVEN.unpack(data)[2]
        even: Ints = np.arange(count, dtype=np.int64) * stride + first
        return even
    steps: Ints = np.empty(count, dtype=np.int64)
    steps[0] = 0
    np.cumsum(np.frombuffer(data, f"<u{size}", offset=_STEPS.size), out=steps[1:])
    steps += first
    return steps


def encode_rows(rows: Ints | None) -> bytes:
    """The rows of a segment; no bytes stand for every row."""
    return b"" if rows is None else rows.astype("<u2").tobytes()


def decode_rows(data: bytes) -> Ints | None:
    """The rows that `encode_rows` encoded."""
    return np.frombuffer(data, "<u2").astype(np.int64) if data else None


def encode_floats(values: Floats) -> bytes:
    """The numbers as they lie in memory."""
    return values.astype("<f8", copy=False).tobytes()


def decode_floats(data: bytes) -> Floats:
    """The numbers that `encode_floats` encoded."""
    return np.frombuffer(data, "<f8")


_EVEN = struct.Struct("<Bqq")
_STEPS = struct.Struct("<Bq")


def encode_tile(tile: Floats) -> tuple[bytes, bytes]:
    """A tile in two parts: its values and their places."""
    return encode_floats(tile[:_VALUES]), encode_floats(tile[_VALUES:])


def decode_tiles(stored: Sequence[tuple[bytes, bytes | None]]) -> Floats:
    """The tiles that `encode_tile` encoded; those of an earlier release have no places."""
    data = b"".join(part for values, places in stored for part in (values, places or _NO_PLACES))
    return decode_floats(data).reshape(-1, TILE_WIDTH)


_NO_PLACES = np.full(TILE_WIDTH - _VALUES, np.nan).tobytes()


def _columns(batches: Sequence[Rows]) -> dict[str, _Column]:
    columns: dict[str, _Column] = {}
    first = 0
    for batch in batches:
        for key, rows, numbers, *_ in batch.columns:
            if numbers:
                column = columns.get(key)
                if column is None:
                    column = columns[key] = _Column()
                column.values.extend(numbers)
                column.spans.append((first, rows, len(numbers)))
        first += len(batch.steps)
    return columns


def _inverse(order: Ints) -> Ints:
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


def _cut_dense(
    columns: Mapping[str, _Column],
    order: Ints | None,
    steps: Ints,
    times: Floats,
    size: int,
    segments: Sequence[dict[str, Segment]],
) -> None:
    """Cuts the metrics that have a number in every row: all at once, as one matrix."""
    keys = [key for key, column in columns.items() if len(column.values) == len(steps)]
    if not keys:
        return
    matrix = np.empty((len(keys), len(steps)))
    for index, key in enumerate(keys):  # not at once: a million numbers would hold the interpreter too long
        matrix[index] = columns[key].values
    if order is not None:
        matrix = matrix[:, order]
    for index, own in enumerate(segments):
        rows = slice(index * size, (index + 1) * size)
        part = matrix[:, rows]
        tiles = _tiles(part, steps[rows], times[rows])
        for key, values, tile in zip(keys, part, tiles, strict=True):
            own[key] = Segment(None, values, tile)


def _cut_sparse(
    key: str,
    column: _Column,
    places: Ints | None,
    steps: Ints,
    times: Floats,
    size: int,
    segments: Sequence[dict[str, Segment]],
) -> None:
    rows, values = column.rows(), np.array(column.values, dtype=np.float64)
    if places is not None:
        rows = places[rows]
        order = sorted_by(rows)
        if order is not None:
            rows, values = rows[order], values[order]
    ends = np.searchsorted(rows, np.arange(len(segments) + 1) * size)
    for index, own in enumerate(segments):
        part = slice(ends[index], ends[index + 1])
        if part.start == part.stop:
            continue
        chosen, inside = rows[part], rows[part] - index * size
        every = len(inside) == min(size, len(steps) - index * size)
        tile = tile_of(values[part], steps[chosen], times[chosen])
        own[key] = Segment(None if every else inside, values[part], tile)


def _tiles(matrix: Floats, steps: Ints, times: Floats) -> Floats:
    """The tile of each row of the matrix."""
    tiles = np.empty((len(matrix), TILE_WIDTH))
    tiles[:, FIRST_STEP], tiles[:, LAST_STEP] = steps[0], steps[-1]
    tiles[:, LEAST_TIME], tiles[:, LARGEST_TIME] = times.min(), times.max()
    tiles[:, TIMES_ASCEND] = bool((times[:-1] <= times[1:]).all())
    finite = np.isfinite(matrix)
    counts = finite.sum(axis=1)
    tiles[:, COUNT], tiles[:, NONFINITE] = counts, matrix.shape[1] - counts
    least, largest = np.where(finite, matrix, np.inf), np.where(finite, matrix, -np.inf)
    every = np.arange(len(matrix))
    none = counts == 0
    ends = np.where(none[:, None], np.nan, matrix)
    for number, values, rows in (
        (MIN, least, least.argmin(axis=1)),
        (MAX, largest, largest.argmax(axis=1)),
        (FIRST, ends, finite.argmax(axis=1)),
        (LAST, ends, matrix.shape[1] - 1 - finite[:, ::-1].argmax(axis=1)),
    ):
        place = PLACES[number]
        tiles[:, number], tiles[:, place], tiles[:, place + 1] = values[every, rows], steps[rows], times[rows]
    with np.errstate(over="ignore"):
        tiles[:, SUM] = np.where(finite, matrix, 0.0).sum(axis=1)
    return tiles


def as_batch(
    steps: Ints, times: Floats, segments: Iterable[tuple[str, Sequence[int] | None, Floats]]
) -> Rows:
    """Stored rows in the form of a batch, to be cut again together with newer ones."""
    return Rows(
        steps.tolist(),
        times.tolist(),
        [
            Column(key, rows, values.tolist(), len(values), 0, 0)  # they are counted already
            for key, rows, values in segments
        ],
    )
