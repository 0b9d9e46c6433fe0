"""Calls of DownloadFiles: chunks are verified and written, missing ones requested again."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from modelyard.contract import errors
from modelyard.host.file_copies import write_at
from modelyard.rpc import validation
from modelyard.rpc.connection import Connection
from modelyard.rpc.records import FileEntry
from modelyard.rpc.retry import Retrier, StreamEndedEarly
from modelyard.transfer import framing, shared_disk_download
from modelyard.transfer.progress import Progress
from modelyard.transfer.threads import ThreadGroup
from modelyard.v1 import model_artifact_pb2 as pb


class PartialFile:
    """A file that several threads receive, its chunks in any order."""

    def __init__(
        self,
        entry: FileEntry,
        part: Callable[[FileEntry], int],
        placed: Callable[[FileEntry, int], None],
    ) -> None:
        self.entry = entry
        self.left = entry.size or 0
        self._part = part
        self._placed = placed
        self._had: set[int] = set()
        self._wrong: set[int] = set()
        self._lock = threading.Lock()
        self._descriptor = -1

    def have(self, number: int) -> None:
        """Records a chunk that is in the part file already."""
        self._had.add(number)
        self.left -= self.entry.chunks[number].size

    def missing(self) -> Iterator[MissingChunk]:
        """The missing chunks, in order."""
        offset = 0
        for number, chunk in enumerate(self.entry.chunks):
            if number not in self._had:
                yield MissingChunk(self, number, offset, chunk.size, chunk.digest)
            offset += chunk.size

    def descriptor(self) -> int:
        """Descriptor of the part file, opened at first use."""
        with self._lock:
            if self._descriptor < 0:
                self._descriptor = self._part(self.entry)
            return self._descriptor

    def arrived(self, chunk: MissingChunk) -> None:
        """Records a verified chunk; the last one completes the file."""
        with self._lock:
            self.left -= chunk.size
            if self.left:
                return
        self.complete()

    def mismatched(self, chunk: MissingChunk) -> None:
        """Records a chunk with wrong bytes. Errors: ChunkCorrupt the second time."""
        with self._lock:
            if chunk.number in self._wrong:
                raise errors.ChunkCorrupt(
                    f"{self.entry.path!r}: chunk {chunk.digest.hex()} arrived twice with a wrong digest"
                )
            self._wrong.add(chunk.number)

    def complete(self) -> None:
        """Completes the file: renames the part file."""
        part = self.descriptor()
        if os.fstat(part).st_size != (self.entry.size or 0):
            os.ftruncate(part, self.entry.size or 0)
        self._placed(self.entry, part)
        self.close()

    def close(self) -> None:
        """Closes the part file, which a later download continues."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


class MissingChunk(NamedTuple):
    """A missing chunk and its offset in the file."""

    file: PartialFile
    number: int
    offset: int
    size: int
    digest: bytes


class ChunkRange:
    """Consecutive chunks of one file."""

    def __init__(self, chunks: list[MissingChunk]) -> None:
        self.chunks = chunks

    def continues(self, chunk: MissingChunk) -> bool:
        """Whether the chunk directly follows this range."""
        last = self.chunks[-1]
        return last.file is chunk.file and last.number + 1 == chunk.number

    def add(self, chunk: MissingChunk) -> None:
        """Extends the range by the next chunk."""
        self.chunks.append(chunk)

    def message(self) -> pb.FileRange:
        """The range as a request."""
        first, last = self.chunks[0], self.chunks[-1]
        length = last.offset + last.size - first.offset
        return pb.FileRange(path=first.file.entry.path, offset=first.offset, length=length)


class TaskQueue:
    """The ranges to fetch; a failed task is queued again with its missing ranges."""

    def __init__(self, tasks: Iterator[list[ChunkRange]]) -> None:
        self._tasks = deque(tasks)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self) -> list[ChunkRange] | None:
        """The next task; None when there is none left."""
        with self._lock:
            return self._tasks.popleft() if self._tasks else None


class Receiver:
    """Splits the bytes of one call into chunks, verifies and writes them."""

    def __init__(self, ranges: Sequence[ChunkRange], arrived: Callable[[MissingChunk], None]) -> None:
        self._expected = deque(chunk for each in ranges for chunk in each.chunks)
        self._arrived = arrived
        self._wrong: list[MissingChunk] = []
        self._hash = hashlib.sha256()
        self._done = 0

    def feed(self, data: memoryview) -> None:
        """The next bytes. Errors: ChunkCorrupt, ReplyInvalid for more than were asked for, OSError."""
        while data:
            if not self._expected:
                validation.refuse("it has more bytes than were asked for")
            chunk = self._expected[0]
            part = data[: chunk.size - self._done]
            # Written before it is verified: it is a part file, and only verified chunks count.
            self._hash.update(part)
            write_at(chunk.file.descriptor(), part, chunk.offset + self._done)
            self._done += len(part)
            data = data[len(part) :]
            if self._done == chunk.size:
                self._finish(self._expected.popleft())

    def end(self) -> None:
        """Ends the call. Errors: StreamEndedEarly if bytes are missing."""
        if self._expected:
            raise StreamEndedEarly("the server ended the stream before everything was sent")

    @property
    def wrong(self) -> Sequence[MissingChunk]:
        """The chunks with wrong bytes."""
        return self._wrong

    def rest(self) -> list[ChunkRange]:
        """The ranges that were not received, or with wrong bytes."""
        ranges: list[ChunkRange] = []
        for chunk in (*self._wrong, *self._expected):
            if ranges and ranges[-1].continues(chunk):
                ranges[-1].add(chunk)
            else:
                ranges.append(ChunkRange([chunk]))
        return ranges

    def _finish(self, chunk: MissingChunk) -> None:
        right = self._hash.digest() == chunk.digest
        self._hash, self._done = hashlib.sha256(), 0
        if right:
            chunk.file.arrived(chunk)
            self._arrived(chunk)
        else:
            self._wrong.append(chunk)
            chunk.file.mismatched(chunk)


class Fetcher:
    """The work of one thread: a call of DownloadFiles for each task, repeated until complete."""

    def __init__(
        self, connection: Connection, version_id: str, tasks: TaskQueue, retrier: Retrier, progress: Progress
    ) -> None:
        self._connection = connection
        self._version_id = version_id
        self._tasks = tasks
        self._retrier = retrier
        self._progress = progress
        self._call: Any = None
        self._cancelled = False
        self._local = connection.shares_disk

    def run(self) -> None:
        """Returns when no task is left. Errors: those that a retry does not help."""
        while not self._cancelled and (ranges := self._tasks.take()) is not None:
            if self._local:
                ranges = self._read_locally(ranges)
            while ranges and not self._cancelled:
                ranges = self._attempt(ranges)

    def cancel(self) -> None:
        """Cancels the running call."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def _read_locally(self, ranges: list[ChunkRange]) -> list[ChunkRange]:
        """Ranges that could not be read from pack files, or had wrong bytes there."""
        receiver = Receiver(ranges, self._arrived)
        try:
            reading = self._call = shared_disk_download.Reading(
                self._connection, self._version_id, [each.message() for each in ranges]
            )
            for data in reading:
                receiver.feed(data)
        except (shared_disk_download.NotReadable, errors.CommError, errors.ReplyInvalid):
            if self._call is not None:
                self._call.cancel()
        rest = receiver.rest()
        self._local = not rest  # fall back to DownloadFiles, which reports the cause
        return rest

    def _attempt(self, ranges: list[ChunkRange]) -> list[ChunkRange]:
        channel = self._connection.channel
        receiver = Receiver(ranges, self._arrived)
        request = pb.DownloadFilesRequest(
            version_id=self._version_id, ranges=[each.message() for each in ranges]
        )
        try:
            self._call = framing.download_files_call(self._connection)(request)
            for data in self._call:
                receiver.feed(data)
            receiver.end()
        except errors.CommError as error:
            if self._call is not None:
                self._call.cancel()
            if isinstance(error, errors.ChunkCorrupt) and receiver.wrong:
                self._have_checked(receiver.wrong[-1])
            if not self._cancelled:
                self._retrier.wait(error, channel)
        return receiver.rest()

    def _have_checked(self, chunk: MissingChunk) -> None:
        """Makes the server verify its bytes: wrong ones are replaced when the content is logged again."""
        request = pb.DownloadFileRequest(
            id=self._version_id, path=chunk.file.entry.path, offset=chunk.offset, length=chunk.size
        )
        with suppress(errors.CommError):
            deque(self._connection.artifacts.DownloadFile(request), maxlen=0)

    def _arrived(self, chunk: MissingChunk) -> None:
        self._retrier.progress()
        self._progress.advance(chunk.size)


def fetch(
    connection: Connection,
    version_id: str,
    tasks: TaskQueue,
    retrier: Retrier,
    progress: Progress,
    *,
    calls: int,
) -> None:
    """Fetches all tasks with up to `calls` calls at a time. Errors: see `transfer.download`."""
    group = ThreadGroup()
    group.on_failure(retrier.stop)
    fetchers = [
        Fetcher(connection, version_id, tasks, retrier, progress) for _ in range(min(calls, len(tasks)))
    ]
    for fetcher in fetchers:
        group.on_failure(fetcher.cancel)
    threads = [group.start(fetcher.run, "download") for fetcher in fetchers]
    try:
        group.join(threads)
    finally:
        # Their threads write into files that are closed next.
        for thread in threads:
            thread.join(10)
