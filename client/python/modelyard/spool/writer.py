"""Appends what one process logs to the files of its spool. Nothing here raises or waits.

    spool/<writer>/alive            locked for as long as the process lives
    spool/<writer>/00000001.spool   a segment; sent ones are deleted

Each record is one write, which a killed process has either made or not. There is no
fsync: a power cut may cost what the system had not written to the disk, some 30 s.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelyard.host import forking, quick_writes, terminal
from modelyard.host.file_locks import FileLock
from modelyard.spool import records
from modelyard.spool.rows import Paths, RowEncoder

SEGMENT_BYTES = 4 << 20
"""Size at which the next segment begins."""
MEMORY_BYTES = 64 << 20
"""The most that waits in memory while the disk takes nothing."""
RETRY_SECONDS = 10.0
"""How long a disk that refused a write is left alone."""
ALIVE = "alive"
_ATTEMPTS = 10
_DONE, _MOVED, _DROPPED = range(3)


class SpoolWriter:
    """The spool of this process; a forked child gets one of its own at its first record.

    While the disk takes nothing, segments wait in memory, with one warning, and new
    rows are dropped and counted once 64 MiB wait. `row` and `end_row` are called with
    `lock` held.
    """

    def __init__(self, folder: Path) -> None:
        self.lock = forking.lock()
        self.rows_dropped = 0
        self._folder = folder
        self._append = quick_writes.writer()
        self._definitions: dict[str, bytes] = {}
        self._file: int | None = None
        self._reset()
        forking.inherit(self)

    def _reset(self) -> None:
        self.writer = uuid.uuid4().hex
        self.rows = 0
        """Rows that are complete."""
        self.changes = 0
        """Records that are no rows."""
        self._open_step: int | None = None
        self._segment = 0
        self._size = 0
        self._encoder = RowEncoder()
        self._memory: dict[int, bytearray] = {}
        self._alive: FileLock | None = None
        self._next_try = 0.0
        self._is_closed = False

    def forget_parent(self) -> None:
        """In a forked child: leaves the parent's files alone."""
        self._close_file()
        self._reset()

    @property
    def folder(self) -> Path:
        """The folder of the segments; it may not exist."""
        return self._folder / self.writer

    def row(
        self,
        step: int,
        timestamp: float,
        points: Mapping[str, Any],
        paths: Paths,
        instead: Mapping[str, Any] = {},
        *,
        is_open: bool = False,
    ) -> None:
        """Appends a row, or points of an open one; see `Row`. Errors: those of `json.dumps`."""
        if self._open_step is not None and self._open_step != step:
            self.end_row(marked=False)
        if (self._size >= SEGMENT_BYTES and self._open_step is None) or not self._segment:
            self._begin()
        put = self._put(self._encoder.encode(step, timestamp, points, paths, instead, is_open=is_open))
        if put == _MOVED:  # the new segment lacks the layout
            put = self._put(self._encoder.encode(step, timestamp, points, paths, instead, is_open=is_open))
        if put == _DROPPED:
            self.rows_dropped += 1
        elif is_open:
            self._open_step = step
        else:
            self._open_step = None
            self.rows += 1

    def end_row(self, *, marked: bool = True) -> None:
        """Completes the open row, if any. Unmarked where a row of another step follows at once."""
        if self._open_step is not None:
            self._open_step = None
            self.rows += 1
            if marked and self._put(end := records.framed(bytes((records.END_OF_ROW,)))) == _MOVED:
                self._put(end)

    def change(self, kind: int, content: Any) -> None:
        """Appends a record that is no row. Errors: TypeError, ValueError, RecursionError."""
        data = records.json_record(kind, content)
        with self.lock:
            if self._is_closed:
                return
            if not self._segment or (self._size >= SEGMENT_BYTES and self._open_step is None):
                self._begin()
            if self._put(data) == _MOVED:
                self._put(data)
            self.changes += 1

    def define(self, name: str, content: Mapping[str, Any]) -> None:
        """Appends a definition, and repeats it in front of each later segment."""
        self._definitions.pop(name, None)
        self._definitions[name] = records.json_record(records.DEFINITION, dict(content))
        self.change(records.DEFINITION, dict(content))

    def memory_segment(self, number: int) -> bytes | None:
        """A segment that waits in memory; None for one that does not."""
        if not self._memory:
            return None
        with self.lock:
            waiting = self._memory.get(number)
            return None if waiting is None else bytes(waiting)

    def discard_before(self, number: int) -> None:
        """Frees the segments in memory before this one."""
        if self._memory:
            with self.lock:
                for sent in [one for one in self._memory if one < number]:
                    del self._memory[sent]

    @property
    def is_on_disk(self) -> bool:
        """Whether nothing waits in memory."""
        return not self._memory

    def close(self) -> None:
        """Ends this spool: what is appended later is dropped."""
        with self.lock:
            self._is_closed = True
            self._close_file()
            if self._alive is not None:
                self._alive.release()
            self._memory.clear()

    def _put(self, data: bytes) -> int:
        if self._file is None:
            return _DROPPED if self._is_closed else self._put_in_memory(data)
        try:
            self._append(self._file, data)
        except OSError as error:
            self._leave_disk(error)
            return _MOVED
        self._size += len(data)
        return _DONE

    def _put_in_memory(self, data: bytes) -> int:
        if time.monotonic() >= self._next_try and self._return_to_disk():
            return self._put(data)
        if sum(map(len, self._memory.values())) + len(data) > MEMORY_BYTES:
            return _DROPPED
        self._memory[self._segment] += data
        self._size += len(data)
        return _DONE

    def _begin(self) -> None:
        """Begins the next segment: on the disk, or in memory while the disk takes nothing."""
        self._close_file()
        self._begin_in_memory()
        self._return_to_disk()

    def _begin_in_memory(self) -> None:
        self._segment += 1
        self._encoder = RowEncoder()
        header = {"format": records.FORMAT, "writer": self.writer, "first_row": self.rows}
        start = records.json_record(records.HEADER, header) + b"".join(self._definitions.values())
        self._memory[self._segment] = bytearray(start)
        self._size = len(start)

    def _leave_disk(self, error: OSError) -> None:
        """Goes on in memory with a new segment; the incomplete record is cut off the old one."""
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
        self._close_file()
        self._begin_in_memory()
        self._refused(error)

    def _return_to_disk(self) -> bool:
        """Writes the waiting segments to the disk; whether it took them."""
        if time.monotonic() < self._next_try:
            return False
        try:
            if self._alive is None:
                self._alive = self._claimed()
            for number in sorted(self._memory):
                self._close_file()
                self._file = self._written(number, self._memory[number])
                if number != self._segment:
                    del self._memory[number]
        except OSError as error:
            self._close_file()
            self._refused(error)
            return False
        self._memory.clear()
        return True

    def _claimed(self) -> FileLock:
        """The lock on the folder, which is made. Errors: OSError."""
        alive = self.folder / ALIVE
        for _ in range(_ATTEMPTS):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock.take(alive)
            if lock is not None and alive.exists():
                return lock
            # A folder that nobody holds yet looks as if it was left, and the process that sends removes it.
        raise OSError(f"{self.folder} could not be locked")

    def _written(self, number: int, data: bytearray) -> int:
        """The descriptor of a new segment with these bytes. Errors: OSError, and there is none then."""
        path = self.folder / segment_name(number)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            quick_writes.write_all(file, bytes(data))
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        return file

    def _refused(self, error: OSError) -> None:
        self._next_try = time.monotonic() + RETRY_SECONDS
        terminal.warn_once(
            f"spool {self._folder}",
            f"cannot write to {self._folder}: {error.strerror or error}. What the run logs waits in memory "
            "until the disk takes it again, or the server has it",
        )

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)


def segment_name(number: int) -> str:
    """The name of a segment's file."""
    return f"{number:08d}.spool"
