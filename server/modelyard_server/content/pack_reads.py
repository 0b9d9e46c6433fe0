"""Plans and reads the bytes of a download: contiguous ranges of packs, in blocks of one message each.

Uploads fill several packs at a time, so the pieces of a file alternate between
packs. A range may continue after pieces from other packs: each pack is opened
once for all its wanted bytes, and read on from where the last read ended.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from modelyard_server.domain.content.file_ranges import ChunkRange
from modelyard_server.packs.store import PackStore, RangeReader

BLOCK_BYTES = 1 << 20
OPEN_RANGES = 4
"""Ranges that alternate. With a remote store each holds a connection."""
PARTS_TOGETHER = 64
"""Most parts of a block: scattered bytes then cost reads, but not a message and a thread each."""


class CorruptChunk(Exception):
    """Stored bytes do not match the digest of their chunk."""

    def __init__(self, piece: ChunkRange) -> None:
        super().__init__(piece.digest.hex())
        self.piece = piece


class PackRange:
    """Contiguous pieces of one pack. Parts are read in order, one at a time.

    With `verify`, chunks are read whole and checked.
    """

    def __init__(self, piece: ChunkRange, *, verify: bool) -> None:
        self.is_over = False
        """Whether the last part was read."""
        self._key = piece.key
        self._verify = verify
        self._last = piece
        self._reader: RangeReader | None = None

    def add(self, piece: ChunkRange) -> bool:
        """Appends a piece if it is contiguous, and returns whether it is. Call it before the first read."""
        last = self._last
        if last.offset + last.size != piece.offset or last.skip + last.length != last.size or piece.skip:
            return False
        self._last = piece
        return True

    def read(self, store: PackStore, part: Sequence[ChunkRange]) -> bytes:
        """Reads the wanted bytes of consecutive pieces. Raises what `PackStore.read` raises, CorruptChunk."""
        begin, end = self._span(part)
        whole_end = self._span([self._last])[1]
        try:
            reader = self._reader
            if reader is None or reader.at != begin:
                self._close_reader()
                self._reader = reader = store.open_range(self._key, begin, whole_end - begin)
            data = reader.read(end - begin)
        finally:
            if end == whole_end:
                self.close()
        return _checked(part, data) if self._verify else data

    def close(self) -> None:
        """Closes the read from the store. It may be called from any thread and does not wait."""
        self.is_over = True
        self._close_reader()

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _span(self, pieces: Sequence[ChunkRange]) -> tuple[int, int]:
        first, last = pieces[0], pieces[-1]
        if self._verify:
            return first.offset, last.offset + last.size
        return first.offset + first.skip, last.offset + last.skip + last.length


class Part(NamedTuple):
    """Consecutive pieces of a range, or parts of pieces."""

    range: PackRange
    pieces: list[ChunkRange]


def blocks(pieces: Iterable[ChunkRange], *, verify: bool) -> Iterator[list[Part]]:
    """Splits the pieces into blocks of 1 MiB; with `verify`, which needs whole chunks, up to a chunk more."""
    block: list[Part] = []
    room = BLOCK_BYTES
    for within, whole in _in_ranges(pieces, verify=verify):
        for piece in [whole] if verify else _cut(whole, room):
            if block and block[-1].range is within:
                block[-1].pieces.append(piece)
            else:
                block.append(Part(within, [piece]))
            room -= piece.length
            if room <= 0 or len(block) >= PARTS_TOGETHER:
                yield block
                block, room = [], BLOCK_BYTES
    if block:
        yield block


def held_bytes(block: Sequence[Part], *, verify: bool) -> int:
    """Bytes of memory that a block needs while it is read."""
    return sum(piece.size if verify else piece.length for part in block for piece in part.pieces)


def _in_ranges(pieces: Iterable[ChunkRange], *, verify: bool) -> list[tuple[PackRange, ChunkRange]]:
    """Each piece with the range that it belongs to."""
    found = []
    open_ranges: OrderedDict[str, PackRange] = OrderedDict()
    for piece in pieces:
        within = open_ranges.pop(piece.key, None)
        if within is None or not within.add(piece):
            within = PackRange(piece, verify=verify)
        open_ranges[piece.key] = within
        if len(open_ranges) > OPEN_RANGES:
            open_ranges.popitem(last=False)
        found.append((within, piece))
    return found


def _cut(piece: ChunkRange, room: int) -> Iterator[ChunkRange]:
    """Splits a piece: the first part has at most `room` bytes, the others 1 MiB."""
    while piece.length > room:
        yield piece._replace(length=room)
        piece = piece._replace(skip=piece.skip + room, length=piece.length - room)
        room = BLOCK_BYTES
    yield piece


def _checked(pieces: Sequence[ChunkRange], data: bytes) -> bytes:
    """The wanted bytes of chunks that were read whole. Raises CorruptChunk."""
    view = memoryview(data)
    first, last = pieces[0], pieces[-1]
    for piece in pieces:
        start = piece.offset - first.offset
        if hashlib.sha256(view[start : start + piece.size]).digest() != piece.digest:
            raise CorruptChunk(piece)
    return data[first.skip : last.offset - first.offset + last.skip + last.length]
