"""What a download reads: runs of bytes that lie end to end in a pack, in blocks of a message each.

Uploads fill several packs at a time, so the bytes of a file mostly take turns
between packs. A run goes on over the pieces that lie in others: each pack is
asked once for all that is wanted of it, and read from where it was left.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from modelyard_server.domain.content.extents import Piece
from modelyard_server.packs.store import PackStore, RangeReader

BLOCK_BYTES = 1 << 20
RUNS_AT_ONCE = 4
"""Runs that take turns; each holds a connection to a store that is reached by one."""
PARTS_TOGETHER = 64
"""Parts of a block at most: bytes that lie scattered cost reads, not messages and threads."""


class CorruptPiece(Exception):
    """Bytes that do not match the digest of their chunk."""

    def __init__(self, piece: Piece) -> None:
        super().__init__(piece.digest.hex())
        self.piece = piece


class Run:
    """Pieces that lie end to end in one pack, in order; its parts are read in order, one at a time.

    With `verify` their chunks are read whole and checked.
    """

    def __init__(self, piece: Piece, *, verify: bool) -> None:
        self.is_over = False
        """Whether its last part was read."""
        self._key = piece.key
        self._verify = verify
        self._last = piece
        self._reader: RangeReader | None = None

    def add(self, piece: Piece) -> bool:
        """Goes on with a piece if it lies there; before the first read."""
        last = self._last
        if last.offset + last.size != piece.offset or last.skip + last.length != last.size or piece.skip:
            return False
        self._last = piece
        return True

    def read(self, store: PackStore, part: Sequence[Piece]) -> bytes:
        """The wanted bytes of consecutive pieces. Errors: CorruptPiece, those of `PackStore.read`."""
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
        """Lets go of the store, from any thread and without waiting."""
        self.is_over = True
        self._close_reader()

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _span(self, pieces: Sequence[Piece]) -> tuple[int, int]:
        first, last = pieces[0], pieces[-1]
        if self._verify:
            return first.offset, last.offset + last.size
        return first.offset + first.skip, last.offset + last.skip + last.length


class Part(NamedTuple):
    """Consecutive pieces of a run, or pieces' parts."""

    run: Run
    pieces: list[Piece]


def blocks(pieces: Iterable[Piece], *, verify: bool) -> Iterator[list[Part]]:
    """The pieces in blocks of 1 MiB; with `verify`, which needs whole chunks, of at most one chunk more."""
    block: list[Part] = []
    room = BLOCK_BYTES
    for run, whole in _in_runs(pieces, verify=verify):
        for piece in [whole] if verify else _cut(whole, room):
            if block and block[-1].run is run:
                block[-1].pieces.append(piece)
            else:
                block.append(Part(run, [piece]))
            room -= piece.length
            if room <= 0 or len(block) >= PARTS_TOGETHER:
                yield block
                block, room = [], BLOCK_BYTES
    if block:
        yield block


def held_bytes(block: Sequence[Part], *, verify: bool) -> int:
    """The bytes in memory of a block that is read; with `verify` its chunks are read whole."""
    return sum(piece.size if verify else piece.length for part in block for piece in part.pieces)


def _in_runs(pieces: Iterable[Piece], *, verify: bool) -> list[tuple[Run, Piece]]:
    """Each piece with the run that it is in."""
    found = []
    open_runs: OrderedDict[str, Run] = OrderedDict()
    for piece in pieces:
        run = open_runs.pop(piece.key, None)
        if run is None or not run.add(piece):
            run = Run(piece, verify=verify)
        open_runs[piece.key] = run
        if len(open_runs) > RUNS_AT_ONCE:
            open_runs.popitem(last=False)
        found.append((run, piece))
    return found


def _cut(piece: Piece, room: int) -> Iterator[Piece]:
    """The piece in parts: the first has `room` at most, the others 1 MiB."""
    while piece.length > room:
        yield piece._replace(length=room)
        piece = piece._replace(skip=piece.skip + room, length=piece.length - room)
        room = BLOCK_BYTES
    yield piece


def _checked(pieces: Sequence[Piece], data: bytes) -> bytes:
    """The wanted bytes of chunks that were read whole. Errors: CorruptPiece."""
    view = memoryview(data)
    first, last = pieces[0], pieces[-1]
    for piece in pieces:
        start = piece.offset - first.offset
        if hashlib.sha256(view[start : start + piece.size]).digest() != piece.digest:
            raise CorruptPiece(piece)
    return data[first.skip : last.offset - first.offset + last.skip + last.length]
