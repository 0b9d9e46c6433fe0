"""Rows as records: numbers in the layout of their names and kinds, all else as JSON.

Training code logs the same names again and again. Their layout is written once for
each file, and a row is then little more than its numbers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

from modelyard.spool.records import FRAME, LAYOUT, OPEN_PLAIN_ROW, OPEN_ROW, PLAIN_ROW, ROW, json_record

Paths: TypeAlias = Mapping[str, tuple[str, ...]]
"""Of points that were logged in nested maps: the names at each level, by joined name."""

LAYOUTS = 1_000
"""Layouts in a file; further rows are written as JSON."""
_CODES = {float: "d", int: "q", bool: "?"}
_FRONT = "<BIqd"  # kind, number of the layout, step, time
_NONE: Mapping[str, Any] = MappingProxyType({})
_START = struct.Struct("<BI")


class Row(NamedTuple):
    """A row: its step, when it was logged (seconds since 1970), and its points by name.

    Rows with one layout have the same object as `keys`.
    """

    step: int
    timestamp: float
    keys: tuple[str, ...]
    values: tuple[Any, ...]
    paths: Paths = _NONE
    instead: Mapping[str, Any] = _NONE
    """What the summary has instead of some points, such as the statistics of a histogram."""

    @property
    def points(self) -> dict[str, Any]:
        """The points by name."""
        return dict(zip(self.keys, self.values, strict=True))


class RowEncoder:
    """Makes the records of the rows of one file."""

    def __init__(self) -> None:
        self._layouts: dict[Any, tuple[int, Callable[..., bytes]]] = {}

    def encode(
        self,
        step: int,
        timestamp: float,
        points: Mapping[str, Any],
        paths: Paths,
        instead: Mapping[str, Any],
        *,
        is_open: bool,
    ) -> bytes:
        """The record of a row, after that of its layout if it is new. Errors: those of `json.dumps`."""
        signature: Any = (tuple(points), tuple(map(type, points.values())))
        if paths:
            signature = (*signature, tuple(paths.items()))
        known, layout = self._layouts.get(signature), b""
        if known is None:
            layout = self._add(signature, paths)
            if not layout:
                kind = OPEN_PLAIN_ROW if is_open else PLAIN_ROW
                return json_record(kind, [step, timestamp, dict(points), dict(paths), dict(instead)])
            known = self._layouts[signature]
        number, pack = known
        body = pack(OPEN_ROW if is_open else ROW, number, step, timestamp, *points.values())
        return layout + FRAME.pack(len(body), crc32(body)) + body

    def _add(self, signature: Any, paths: Paths) -> bytes:
        """The record of a new layout; empty for rows that have none."""
        keys, kinds, *_ = signature
        if len(self._layouts) >= LAYOUTS or not all(kind in _CODES for kind in kinds):
            return b""
        codes = "".join(_CODES[kind] for kind in kinds)
        number = len(self._layouts)
        self._layouts[signature] = (number, struct.Struct(_FRONT + codes).pack)
        return json_record(LAYOUT, {"number": number, "keys": keys, "codes": codes, "paths": dict(paths)})


class RowDecoder:
    """Reads the records of the rows of one file, whose layouts it was given."""

    def __init__(self) -> None:
        self._layouts: dict[int, tuple[Callable[[Any], tuple[Any, ...]], tuple[str, ...], Paths]] = {}

    def add_layout(self, content: Mapping[str, Any]) -> None:
        """Adds the layout of a LAYOUT record."""
        unpack = struct.Struct(_FRONT + content["codes"]).unpack
        self._layouts[content["number"]] = (unpack, tuple(content["keys"]), _paths(content["paths"]))

    def decode(self, body: memoryview) -> Row:
        """The row of a body of any of the four kinds. Errors: KeyError, ValueError, struct.error."""
        if body[0] in {ROW, OPEN_ROW}:
            unpack, keys, paths = self._layouts[_START.unpack_from(body)[1]]
            numbers = unpack(body)
            return Row(numbers[2], numbers[3], keys, numbers[4:], paths)
        step, timestamp, points, paths, instead = json.loads(bytes(body[1:]))
        return Row(step, timestamp, tuple(points), tuple(points.values()), _paths(paths), instead)


def merged(row: Row, more: Row) -> Row:
    """A row with further points of the same step."""
    points = {**row.points, **more.points}
    paths = {**row.paths, **more.paths}
    instead = {key: value for key, value in row.instead.items() if key not in more.points}
    instead |= more.instead
    return Row(row.step, more.timestamp, tuple(points), tuple(points.values()), paths, instead)


def _paths(raw: Mapping[str, Any]) -> Paths:
    return {name: tuple(path) for name, path in raw.items()}
