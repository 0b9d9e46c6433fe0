"""Reads files into a few reused buffers and cuts them there.

A buffer is lent out as a `Window`, holds whole chunks of one or more files,
and comes back when the last of its bytes have been sent or need not be. So an
upload holds `WINDOW_COUNT` windows at most, whatever the size of its files.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from modelyard.contract import chunking, errors
from modelyard.contract.chunking import Chunk
from modelyard.host.folder_walk import not_regular, unreadable
from modelyard.rpc.manifest import LocalFile
from modelyard.transfer.threads import Stopped

WINDOW_BYTES = 16 << 20
WINDOW_COUNT = 4
PIECES_PER_WINDOW = 2_000


@dataclass(eq=False)
class Source:
    """A file being uploaded. `chunks` are filled in by whoever hashes them, recalls them, or had them taken.

    `status`, `identity` and the times are those of the moment `noted_ns`, before it is read.
    """

    file: LocalFile
    status: tuple[int, int, int]
    identity: bytes
    changed_ns: int
    noted_ns: int
    chunks: list[Chunk] = field(default_factory=list)
    recalled: bool = False
    taken: bool = False

    @classmethod
    def of(cls, file: LocalFile) -> Source:
        """Notes the file's state now. LocalFileError unless it is a regular file."""
        noted = time.time_ns()
        try:
            found = os.stat(file.source)
        except OSError as error:
            raise unreadable(file.source, error) from error
        if not stat.S_ISREG(found.st_mode):
            raise not_regular(file.source)
        status = _status(found)
        identity = _IDENTITY.pack(*status, found.st_dev, found.st_ctime_ns)
        return cls(file, status, identity, found.st_ctime_ns, noted)

    def recall(self, chunks: list[Chunk]) -> None:
        """Takes chunks over from when the file was in this very state."""
        self.chunks, self.recalled = chunks, True

    def take(self, chunks: list[Chunk]) -> None:
        """Takes over the chunks that the server has read from the file itself."""
        self.chunks, self.taken = chunks, True

    @property
    def modified_ns(self) -> int:
        """Time of its last change of content."""
        return self.status[1]

    @property
    def size(self) -> int:
        """Size in bytes when the upload began."""
        return self.status[0]

    @contextmanager
    def opened(self) -> Iterator[io.FileIO]:
        """The file, which must be in its noted state before and after.

        Errors: LocalFileError, errors.Error when it changed.
        """
        try:
            raw = open(self.file.source, "rb", buffering=0)  # noqa: SIM115  # its errors alone are told apart
        except OSError as error:
            raise unreadable(self.file.source, error) from error
        with raw:
            self._check(raw)
            yield raw
            self._check(raw)

    def changed(self) -> errors.Error:
        """The error that says so."""
        return errors.Error(f"{self.file.source} changed while it was read; log it when it is complete")

    def _check(self, raw: io.FileIO) -> None:
        if _status(os.fstat(raw.fileno())) != self.status:
            raise self.changed()


_IDENTITY = struct.Struct(">QqQQq")  # size, modified, inode, device, changed


def _status(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


class Piece(NamedTuple):
    """One chunk in a window: where it lies there, and which chunk of which file it is."""

    source: Source
    number: int
    offset: int
    start: int
    size: int

    @property
    def chunk(self) -> Chunk:
        """Its digest and size, once it was hashed."""
        return self.source.chunks[self.number]


class Window:
    """A lent buffer and what lies in it. `release` gives it back."""

    def __init__(self, pool: WindowPool, view: memoryview) -> None:
        self._pool = pool
        self.view = view
        self.filled = 0
        self.pieces: list[Piece] = []
        self.holders = 1

    @property
    def room(self) -> int:
        """Bytes that still fit."""
        return len(self.view) - self.filled

    def bytes_of(self, piece: Piece) -> memoryview:
        """The bytes of one of its pieces; valid until the release."""
        return self.view[piece.start : piece.start + piece.size]

    def read(self, raw: io.FileIO, source: Source, start: int, size: int) -> None:
        """Reads exactly `size` bytes to `start`. Errors: errors.Error when the file is shorter by now."""
        while size:
            count = raw.readinto(self.view[start : start + size])
            if not count:
                raise source.changed()
            start += count
            size -= count

    def release(self) -> None:
        """Gives the buffer back when the last holder has done so."""
        self._pool.release(self)


class WindowPool:
    """Lends at most `count` buffers and makes them when they are first needed."""

    def __init__(self, size: int = WINDOW_BYTES, count: int = WINDOW_COUNT) -> None:
        self.size = size
        self._unmade = count
        self._free: list[memoryview] = []
        self._stopped = False
        self._changed = threading.Condition()

    def take(self) -> Window:
        """A window, as soon as there is one. Errors: Stopped."""
        with self._changed:
            while not self._stopped:
                if self._free:
                    return Window(self, self._free.pop())
                if self._unmade:
                    self._unmade -= 1
                    return Window(self, memoryview(bytearray(self.size)))
                self._changed.wait()
            raise Stopped

    def hold(self, window: Window, holders: int) -> None:
        """Counts more holders, each of which will release the window."""
        with self._changed:
            window.holders += holders

    def release(self, window: Window) -> None:
        """One holder less; the last one frees the buffer."""
        with self._changed:
            window.holders -= 1
            if window.holders == 0:
                self._free.append(window.view)
                self._changed.notify()

    def stop(self) -> None:
        """Makes every `take` raise."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


class Reader:
    """Reads all sources in order, one pass, and hands on each full window."""

    def __init__(self, pool: WindowPool, emit: Callable[[Window], None]) -> None:
        self._pool = pool
        self._emit = emit
        self._window: Window | None = None

    def read(self, sources: Sequence[Source]) -> None:
        """Every chunk of every source ends in exactly one emitted window."""
        for source in sources:
            with source.opened() as raw:
                if source.size > chunking.MINIMUM_BYTES:
                    self._cut(source, raw)
                elif source.size:
                    self._whole(source, raw)
        self._flush()

    def _whole(self, source: Source, raw: io.FileIO) -> None:
        window = self._with_room(source.size)
        window.read(raw, source, window.filled, source.size)
        _add(window, source, 0, window.filled, source.size)

    def _cut(self, source: Source, raw: io.FileIO) -> None:
        window = self._with_room(min(source.size, chunking.MAXIMUM_BYTES))
        left, offset = source.size, 0
        start = end = window.filled
        while True:
            count = min(left, len(window.view) - end)
            window.read(raw, source, end, count)
            left, end = left - count, end + count
            last = 0
            for cut in chunking.cut_points(window.view[start:end], final=not left):
                _add(window, source, offset + last, start + last, cut - last)
                last = cut
            offset += last
            if not left:
                return
            window, end = self._turn(window.view[start + last : end])
            start = 0

    def _turn(self, tail: memoryview) -> tuple[Window, int]:
        """A new window that begins with the tail of the present one, which is handed on."""
        following = self._pool.take()
        following.view[: len(tail)] = tail
        self._flush()
        self._window = following
        return following, len(tail)

    def _with_room(self, size: int) -> Window:
        window = self._window
        if window and (window.room < size or len(window.pieces) >= PIECES_PER_WINDOW):
            self._flush()
        if self._window is None:
            self._window = self._pool.take()
        return self._window

    def _flush(self) -> None:
        window, self._window = self._window, None
        if window is not None:
            self._emit(window)


_UNHASHED = Chunk(b"", 0)


def _add(window: Window, source: Source, offset: int, start: int, size: int) -> None:
    window.pieces.append(Piece(source, len(source.chunks), offset, start, size))
    source.chunks.append(_UNHASHED)
    window.filled = start + size
