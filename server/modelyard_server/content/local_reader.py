"""Reads local files into buffers and cuts them into chunks. It blocks, so use it on a thread."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from modelyard.contract import chunking, errors
from modelyard.contract.chunking import Chunk
from modelyard.local.v1 import local_pb2 as pb

CHUNKS_PER_WINDOW = 5_000


class ReadBuffer:
    """A reusable buffer. Its memory is allocated by the thread that first uses it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._buffer: bytearray | None = None

    def view(self) -> memoryview:
        """A view of the whole buffer."""
        if self._buffer is None:
            self._buffer = bytearray(self._size)
        return memoryview(self._buffer)

    def chunks(self, ends: Sequence[int]) -> list[Chunk]:
        """The chunks with these ends, and their digests."""
        view = self.view()
        starts = (0, *ends[:-1])
        return [
            Chunk(chunking.chunk_digest(view[start:end]), end - start)
            for start, end in zip(starts, ends, strict=True)
        ]


class LocalReader:
    """Reads files in order, in one pass. Only one thread at a time may use it."""

    def __init__(self, files: Sequence[pb.LocalFile]) -> None:
        self._files = files
        self._next = 0
        self._open: _OpenFile | None = None
        self._tail = b""
        self.total = sum(file.size_bytes for file in files)

    def fill(self, buffer: ReadBuffer, size: int) -> list[int]:
        """Reads up to `size` bytes; returns the ends of the chunks, none once all files were read.

        `size` must be at least 4 MiB, so that one chunk is complete. Raises FileNotTaken
        when a file is not in the state that the request names.
        """
        view = buffer.view()[:size]
        filled = len(self._tail)
        view[:filled] = self._tail
        start = 0
        ends: list[int] = []
        while len(ends) < CHUNKS_PER_WINDOW and filled < len(view) and (file := self._current()):
            filled += file.read_into(view[filled:])
            if file.left:
                ends += [start + end for end in chunking.cut_points(view[start:filled], final=False)]
                break
            ends += [start + end for end in chunking.cut_points(view[start:filled])]
            start = filled
            self.close()
        self._tail = bytes(view[ends[-1] if ends else 0 : filled])
        return ends

    def close(self) -> None:
        """Closes the current file."""
        file, self._open = self._open, None
        if file is not None:
            file.close()

    def _current(self) -> _OpenFile | None:
        """The file to read from. Empty files are checked and skipped."""
        while self._open is None and self._next < len(self._files):
            self._open = _OpenFile(self._next, self._files[self._next])
            self._next += 1
            if not self._open.left:
                self.close()
        return self._open


class _OpenFile:
    """A file whose state must be the one that the request names, before and after reading."""

    def __init__(self, index: int, file: pb.LocalFile) -> None:
        self._index = index
        self._state = (file.size_bytes, file.modified_ns, file.inode)
        self.left = file.size_bytes
        try:
            # Non-blocking, in case it was replaced by a pipe.
            self._descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise self._not_taken(error.strerror or "cannot be opened") from error
        try:
            self._check()
        except BaseException:
            os.close(self._descriptor)
            raise

    def read_into(self, view: memoryview) -> int:
        """Fills the view with the next bytes; checks the state after the last one."""
        wanted = min(self.left, len(view))
        done = 0
        while done < wanted:
            try:
                count = os.readv(self._descriptor, [view[done:wanted]])
            except OSError as error:
                raise self._not_taken(error.strerror or "cannot be read") from error
            if not count:
                raise self._not_taken("is shorter than the request says")
            done += count
        self.left -= done
        if not self.left:
            self._check()
        return done

    def close(self) -> None:
        """Closes the file. Call it once."""
        os.close(self._descriptor)

    def _check(self) -> None:
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise self._not_taken("is not a regular file")
        if (found.st_size, found.st_mtime_ns, found.st_ino) != self._state:
            raise self._not_taken("differs from the request in size, modification time or inode")

    def _not_taken(self, why: str) -> errors.FileNotTaken:
        return errors.FileNotTaken(f"files[{self._index}]: {why}", metadata={"file": str(self._index)})
