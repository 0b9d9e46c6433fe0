"""Reads a spool from a position on, while its writer may go on writing."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from modelyard.spool import records
from modelyard.spool.records import Record
from modelyard.spool.rows import Row, RowDecoder, merged
from modelyard.spool.writer import segment_name

CHUNK_BYTES = 1 << 20
"""The most bytes that are read at a time by default, unless one record is longer."""
_ROWS = frozenset({records.ROW, records.OPEN_ROW, records.PLAIN_ROW, records.OPEN_PLAIN_ROW})
_WHOLE = frozenset({records.ROW, records.PLAIN_ROW})
_OPEN = frozenset({records.OPEN_ROW, records.OPEN_PLAIN_ROW})


class Position(NamedTuple):
    """A place between records: segment, offset in its file, and number of the rows before it."""

    segment: int = 0
    offset: int = 0
    row: int = 0


BEGIN = Position()


class Chunk(NamedTuple):
    """What was read: rows and other records in order, the number of the first row, and where they end."""

    items: list[Row | Record]
    first_row: int
    end: Position


class SpoolReader:
    """Reads one spool, at most `chunk_bytes` or one record at a time.

    `memory` returns segments that are not on the disk.
    """

    def __init__(
        self,
        folder: Path,
        position: Position = BEGIN,
        memory: Callable[[int], bytes | None] = lambda number: None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._folder = folder
        self._memory = memory
        self._chunk_bytes = chunk_bytes
        self._start = position
        self._segment = 0
        self._at = 0
        self._row = position.row
        self._decoder = RowDecoder()
        self._open: Row | None = None
        self._open_from = position
        self._items: list[Row | Record] = []
        self._first_row: int | None = None
        """Number of the first row among the items."""

    def read(self) -> Chunk | None:
        """The next rows and records; None when there are no more for now."""
        while True:
            following = self._following()  # looked up first: a segment with a successor is complete
            if self._segment and (self._read_segment() or self._items):
                return self._chunk()
            if following is None:
                return None
            self._enter(following)

    def rest(self) -> Chunk | None:
        """After the end of the writer's process: the row that was still open, if any."""
        self._complete_open()
        return self._chunk() if self._items else None

    def segments(self) -> list[int]:
        """The numbers of the segments on the disk."""
        with suppress(OSError):
            names = (entry.name for entry in os.scandir(self._folder))
            return sorted(int(name[:-6]) for name in names if name.endswith(".spool"))
        return []

    def discard_before(self, number: int) -> None:
        """Deletes the segments before this one."""
        for sent in self.segments():
            if sent < number:
                with suppress(OSError):
                    (self._folder / segment_name(sent)).unlink()

    def _chunk(self) -> Chunk:
        items, self._items = self._items, []
        first_row, self._first_row = self._first_row, None
        end = Position(self._segment, self._at, self._row) if self._open is None else self._open_from
        return Chunk(items, self._row if first_row is None else first_row, end)

    def _following(self) -> int | None:
        """The segment after the present one, or the one to begin with."""
        wanted = self._segment + 1 if self._segment else max(self._start.segment, 1)
        if self._has(wanted):
            return wanted
        return next((number for number in self.segments() if number > wanted), None)

    def _has(self, number: int) -> bool:
        return (self._folder / segment_name(number)).exists() or self._memory(number) is not None

    def _enter(self, number: int) -> None:
        """Goes to the beginning of a segment, or to the position that was asked for in it."""
        self._segment, self._at, self._decoder = number, 0, RowDecoder()
        if number == self._start.segment and self._start.offset:
            self._skip_to(self._start)

    def _enter_row(self, first_row: int) -> None:
        """Takes the number of the next row from a header."""
        if self._open is not None and first_row == self._row + 1:
            self._complete_open()
        elif first_row != self._row:
            self._open = None  # its end is lost, with other rows
        self._row = first_row

    def _skip_to(self, start: Position) -> None:
        """Reads the layouts and definitions up to a position."""
        while self._at < start.offset and self._read_segment(start.offset):
            pass
        self._items = [
            item for item in self._items if isinstance(item, Record) and item.kind == records.DEFINITION
        ]
        self._first_row = None
        self._at, self._row, self._open = start.offset, start.row, None

    def _read_segment(self, end_at: int | None = None) -> bool:
        """Reads records of the present segment; whether there were any."""
        began, data = self._at, memoryview(self._load(self._at))
        for body, end in records.bodies(data):
            if end_at is not None and began + end > end_at:
                break
            try:
                if self._open is None and body[0] in _WHOLE:  # nearly all records
                    self._add_row(self._decoder.decode(body))
                else:
                    self._take(body)
            except (KeyError, TypeError, ValueError, struct.error):
                return False  # of a newer release, or damaged: the next segment is read
            self._at = began + end
        return self._at > began

    def _load(self, offset: int) -> bytes:
        """Bytes of the present segment, with at least one whole record if there is one."""
        waiting = self._memory(self._segment)
        if waiting is not None:
            return waiting[offset:]
        with suppress(OSError), open(self._folder / segment_name(self._segment), "rb") as file:
            file.seek(offset)
            data = file.read(self._chunk_bytes)
            missing = records.whole_length(data) - len(data)
            return data + file.read(missing) if missing > 0 else data
        return b""

    def _take(self, body: memoryview) -> None:
        kind = body[0]
        if kind in _ROWS:
            self._take_row(self._decoder.decode(body), is_open=kind in _OPEN)
        elif kind == records.LAYOUT:
            self._decoder.add_layout(json.loads(bytes(body[1:])))
        elif kind == records.END_OF_ROW:
            self._complete_open()
        elif kind == records.HEADER:
            self._enter_row(int(json.loads(bytes(body[1:]))["first_row"]))
        else:
            self._items.append(Record(kind, json.loads(bytes(body[1:]))))

    def _take_row(self, row: Row, *, is_open: bool) -> None:
        if self._open is not None and self._open.step != row.step:
            self._complete_open()
        if self._open is not None:
            row = merged(self._open, row)
        elif is_open:
            self._open_from = Position(self._segment, self._at, self._row)
        self._open = row
        if not is_open:
            self._complete_open()

    def _complete_open(self) -> None:
        if self._open is not None:
            self._add_row(self._open)
            self._open = None

    def _add_row(self, row: Row) -> None:
        if self._first_row is None:
            self._first_row = self._row
        self._items.append(row)
        self._row += 1
