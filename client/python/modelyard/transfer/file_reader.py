"""Reads files into a few reused buffers and cuts them there.

A buffer holds whole chunks of one or more files. It returns to its pool when
the last of its chunks has been sent or turned out to be present on the server.
So an upload holds at most `BUFFER_COUNT` buffers, whatever the size of its files.
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
from modelyard.host import waiting
from modelyard.host.local_files import LocalFile, not_regular, unreadable
from modelyard.transfer.threads import Stopped

BUFFER_BYTES = 16 << 20
BUFFER_COUNT = 4
CHUNKS_PER_BUFFER = 2_000
"""A buffer with so many chunks is full: small files have many chunks and few bytes."""


@dataclass(eq=False)
class Source:
    """A file that is being uploaded, and its state at the time `noted_ns`, before it was read.

    `chunks` are filled in when they were hashed by this process, by the server
    (`read_by_server`), or found in the upload index (`recalled`).
    """

    file: LocalFile
    status: tuple[int, int, int]
    identity: bytes
    changed_ns: int
    noted_ns: int
    chunks: list[Chunk] = field(default_factory=list)
    recalled: bool = False
    read_by_server: bool = False

    @classmethod
    def of(cls, file: LocalFile) -> Source:
        """The file in its present state. Errors: LocalFileError unless it is a regular file."""
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
        """Sets the chunks that were recorded when the file was in the same state."""
        self.chunks, self.recalled = chunks, True

    def set_server_chunks(self, chunks: list[Chunk]) -> None:
        """Sets the chunks that the server read from the file."""
        self.chunks, self.read_by_server = chunks, True

    @property
    def modified_ns(self) -> int:
        """Modification time, in nanoseconds."""
        return self.status[1]

    @property
    def size(self) -> int:
        """Size in bytes in the noted state."""
        return self.status[0]

    @contextmanager
    def opened(self) -> Iterator[io.FileIO]:
        """Opens the file, which must be in its noted state before and after.

        Errors: LocalFileError, errors.Error when it changed.
        """
        try:
            raw = open(self.file.source, "rb", buffering=0)  # noqa: SIM115  # only its own errors are caught
        except OSError as error:
            raise unreadable(self.file.source, error) from error
        with raw:
            self._check(raw)
            yield raw
            self._check(raw)

    def changed(self) -> errors.Error:
        """The error for a file that was changed while it was read."""
        return errors.Error(f"{self.file.source} changed while it was read; log it when it is complete")

    def _check(self, raw: io.FileIO) -> None:
        if _status(os.fstat(raw.fileno())) != self.status:
            raise self.changed()


_IDENTITY = struct.Struct(">QqQQq")  # size, modified, inode, device, changed


def _status(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


class BufferedChunk(NamedTuple):
    """A chunk whose bytes are at `start` of a buffer: chunk `number` of `source`, at `offset` of the file."""

    source: Source
    number: int
    offset: int
    start: int
    size: int

    @property
    def chunk(self) -> Chunk:
        """Digest and size; valid once the chunk was hashed."""
        return self.source.chunks[self.number]


class ReadBuffer:
    """A buffer of the pool and the chunks in it. The last `release` returns it."""

    def __init__(self, pool: BufferPool, view: memoryview) -> None:
        self._pool = pool
        self.view = view
        self.filled = 0
        self.chunks: list[BufferedChunk] = []
        self.holders = 1

    @property
    def room(self) -> int:
        """Number of free bytes."""
        return len(self.view) - self.filled

    def bytes_of(self, chunk: BufferedChunk) -> memoryview:
        """The bytes of a chunk; valid until the buffer is released."""
        return self.view[chunk.start : chunk.start + chunk.size]

    def read(self, raw: io.FileIO, source: Source, start: int, size: int) -> None:
        """Reads exactly `size` bytes to `start`. Errors: errors.Error when the file is shorter by now."""
        while size:
            count = raw.readinto(self.view[start : start + size])
            if not count:
                raise source.changed()
            start += count
            size -= count

    def release(self) -> None:
        """Gives up one hold; the last one returns the buffer to the pool."""
        self._pool.release(self)


class BufferPool:
    """A pool of at most `count` buffers, allocated when they are first needed."""

    def __init__(self, size: int = BUFFER_BYTES, count: int = BUFFER_COUNT) -> None:
        self.size = size
        self._unmade = count
        self._free: list[memoryview] = []
        self._stopped = False
        self._changed = threading.Condition()

    def take(self) -> ReadBuffer:
        """Waits for a free buffer. Errors: Stopped."""
        with self._changed:
            while not self._stopped:
                if self._free:
                    return ReadBuffer(self, self._free.pop())
                if self._unmade:
                    self._unmade -= 1
                    return ReadBuffer(self, memoryview(bytearray(self.size)))
                self._changed.wait(waiting.STEP_SECONDS)  # the main thread may wait here
            raise Stopped

    def hold(self, buffer: ReadBuffer, holders: int) -> None:
        """Adds holds, each of which has to be released."""
        with self._changed:
            buffer.holders += holders

    def release(self, buffer: ReadBuffer) -> None:
        """Removes a hold; the last one frees the buffer."""
        with self._changed:
            buffer.holders -= 1
            if buffer.holders == 0:
                self._free.append(buffer.view)
                self._changed.notify()

    def stop(self) -> None:
        """Makes every `take` raise Stopped, also those that wait."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


class Reader:
    """Reads files in order, once, and passes each full buffer to `emit`."""

    def __init__(self, pool: BufferPool, emit: Callable[[ReadBuffer], None]) -> None:
        self._pool = pool
        self._emit = emit
        self._buffer: ReadBuffer | None = None

    def read(self, sources: Sequence[Source]) -> None:
        """Reads all sources; every chunk is in exactly one emitted buffer."""
        for source in sources:
            with source.opened() as raw:
                if source.size > chunking.MINIMUM_BYTES:
                    self._cut(source, raw)
                elif source.size:
                    self._whole(source, raw)
        self._flush()

    def _whole(self, source: Source, raw: io.FileIO) -> None:
        buffer = self._with_room(source.size)
        buffer.read(raw, source, buffer.filled, source.size)
        _add(buffer, source, 0, buffer.filled, source.size)

    def _cut(self, source: Source, raw: io.FileIO) -> None:
        buffer = self._with_room(min(source.size, chunking.MAXIMUM_BYTES))
        left, offset = source.size, 0
        start = end = buffer.filled
        while True:
            count = min(left, len(buffer.view) - end)
            buffer.read(raw, source, end, count)
            left, end = left - count, end + count
            last = 0
            for cut in chunking.cut_points(buffer.view[start:end], final=not left):
                _add(buffer, source, offset + last, start + last, cut - last)
                last = cut
            offset += last
            if not left:
                return
            buffer, end = self._turn(buffer.view[start + last : end])
            start = 0

    def _turn(self, tail: memoryview) -> tuple[ReadBuffer, int]:
        """Emits the present buffer; returns a new one that begins with its tail, and the length of that."""
        following = self._pool.take()
        following.view[: len(tail)] = tail
        self._flush()
        self._buffer = following
        return following, len(tail)

    def _with_room(self, size: int) -> ReadBuffer:
        buffer = self._buffer
        if buffer and (buffer.room < size or len(buffer.chunks) >= CHUNKS_PER_BUFFER):
            self._flush()
        if self._buffer is None:
            self._buffer = self._pool.take()
        return self._buffer

    def _flush(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._emit(buffer)


_UNHASHED = Chunk(b"", 0)


def _add(buffer: ReadBuffer, source: Source, offset: int, start: int, size: int) -> None:
    buffer.chunks.append(BufferedChunk(source, len(source.chunks), offset, start, size))
    source.chunks.append(_UNHASHED)
    buffer.filled = start + size
