"""The upload engine: asks which chunks the server has, sends the others, commits.

    reader (the caller's thread)   buffers of whole chunks, read and cut
      → workers (2)                SHA-256, FindMissingChunks
        → streams (2)              UploadChunks, acknowledged when durable
          → commit

After a break, the client asks about the unacknowledged chunks again, since the
server keeps those that arrived. Missing ones are read from their files again, so
that nothing has to be kept in memory. The chunks of files in the upload index
take this way from the start: only missing ones are read. If all files are in the
index or small, and the server has them, one call commits them. A server on this
machine reads the files itself (`shared_disk_upload`); the rest is sent.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TypeVar

from modelyard.cache.content import Cache
from modelyard.cache.upload_index import UploadIndex
from modelyard.contract import chunking, errors
from modelyard.contract.chunking import Chunk
from modelyard.host import allocator
from modelyard.host.local_files import LocalFile
from modelyard.rpc import validation
from modelyard.rpc.connection import Connection
from modelyard.rpc.manifest import NewVersion, commit_messages
from modelyard.rpc.records import FileEntry
from modelyard.rpc.retry import Retrier
from modelyard.transfer import dedupe, shared_disk_upload
from modelyard.transfer import progress as progress_display
from modelyard.transfer.file_reader import (
    BUFFER_BYTES,
    CHUNKS_PER_BUFFER,
    BufferedChunk,
    BufferPool,
    ReadBuffer,
    Reader,
    Source,
)
from modelyard.transfer.progress import Progress
from modelyard.transfer.threads import ThreadGroup
from modelyard.transfer.upload_stream import MESSAGE_BYTES, LocatedChunk, SendQueue, Stream, batches
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2

T = TypeVar("T")

STREAMS = 2
WORKERS = 2
ONE_STREAM_BYTES = 16 << 20
"""Content up to this size is sent in one stream: it fits one pack, and a second stream would make another."""
EXPIRED_UPLOADS = 3
"""Number of uploads that may expire; the last one is an error."""
WRONG_ENTRIES = 3
"""Number of files of which the index may have wrong chunks; the last one is an error."""
ROUNDS = 3
"""Number of commits of one upload; between them chunks are sent that the server lost meanwhile."""
CHUNKS_PER_QUESTION = 5_000
"""Number of chunks in one FindMissingChunks."""


@dataclass(frozen=True)
class Begun:
    """The beginning of an upload: the version, if stored content made it, else an open upload.

    `sources` are the files as they were before. An empty `upload_id` says that the server was not asked.
    """

    sources: Sequence[Source]
    made: tuple[pb.ModelArtifactVersion, bool] | None = None
    upload_id: str = ""


def begin(
    connection: Connection,
    header: NewVersion,
    files: Sequence[LocalFile],
    references: Sequence[FileEntry],
    *,
    request_id: str,
    cache: Cache,
    makes: bool = True,
) -> Begun:
    """Has the server check a version before any of its content is sent, and opens an upload for it.

    Content that the server has already makes the version at once, if it `makes` any.
    Errors: as `upload`.
    """
    known = cache.upload_index() if makes else None
    begun = _ask(connection, header, files, references, request_id, known)
    if begun.made or begun.upload_id:
        return begun
    return replace(begun, upload_id=dedupe.open_upload(connection, header))


def upload(
    connection: Connection,
    header: NewVersion,
    files: Sequence[LocalFile],
    *,
    references: Sequence[FileEntry] = (),
    progress: Progress | None = None,
    request_id: str | None = None,
    cache: Cache | None = None,
    copied: Begun | None = None,
) -> tuple[pb.ModelArtifactVersion, bool]:
    """Sends the chunks that the server lacks and commits a version of the files.

    Returns the version, and False where a live version of the name had this
    content already. Calling again with the same `request_id` and content gives
    the same version; after a break only what was not acknowledged is sent. An
    unreachable server is retried for up to 60 s without progress. Memory
    stays below 100 MiB whatever the size of the files.

    With a `cache`, files that have not changed since they were logged are not
    read again unless the server misses them. `copied` is what `begin` returned for
    the files that these are copies of; the cache then remembers those.

    `progress` is notified; by default a bar is shown on a terminal, with `SILENT` none.

    Errors: errors.Error for a file that changes while it is read or is no
    regular file, OSError, and what the server refuses as errors.CommError.
    """
    display = progress or progress_display.automatic()
    request_id, known = request_id or uuid.uuid4().hex, cache.upload_index() if cache else None
    upload_id, failures = copied.upload_id if copied else "", _Failures()
    commit = _VersionCommit(connection, header, references, request_id)
    checked = functools.partial(dedupe.open_upload, connection, header)
    try:
        while True:
            begun = _ask(connection, header, files, references, request_id, None if copied else known)
            if begun.made:
                _show_complete(display, begun.sources)
                return begun.made
            one = Upload(connection, begun.sources, checked, display, begun.upload_id or upload_id)
            try:
                made = one.run(commit)
            except (errors.UploadExpired, _StaleIndexEntry) as error:
                upload_id = failures.note(error, known)
                continue
            if known is not None:
                _remember(known, _originals(begun, copied), references, commit.digest, header)
            return made
    finally:
        display.close()


class _Failures:
    """Counts what an upload is begun again for. An expired one finds the chunks that were sent present."""

    def __init__(self) -> None:
        self._expired = self._wrong_entries = 0

    def note(self, error: errors.UploadExpired | _StaleIndexEntry, known: UploadIndex | None) -> str:
        """Raises the error where it came too often; returns the upload to go on with, which is a new one."""
        if isinstance(error, errors.UploadExpired):
            self._expired += 1
            if self._expired == EXPIRED_UPLOADS:
                raise error
            return ""
        assert known is not None
        known.forget([error.source])
        self._wrong_entries += 1
        if self._wrong_entries == WRONG_ENTRIES:
            raise errors.Error(_STALE.format(path=error.source.file.source)) from None
        return ""


def _show_complete(progress: Progress, sources: Sequence[Source]) -> None:
    total = sum(source.size for source in sources)
    progress.start("upload", total)
    progress.advance(total, total)


def _ask(
    connection: Connection,
    header: NewVersion,
    files: Sequence[LocalFile],
    references: Sequence[FileEntry],
    request_id: str,
    known: UploadIndex | None,
) -> Begun:
    """Asks whether the server has the content. Without an index it is not asked."""
    sources = [Source.of(file) for file in files]
    if known is None:
        return Begun(sources)
    equal = dedupe.commit(connection, header, sources, references, known, request_id)
    if equal is None or equal.upload_id:
        return Begun(sources, upload_id=equal.upload_id if equal else "")
    return Begun(sources, (equal.version, equal.created))


def _originals(begun: Begun, copied: Begun | None) -> Sequence[Source]:
    """The files that the user logged, with their chunks: the index knows those, not copies of them."""
    if copied is None or not copied.sources:
        return () if copied else begun.sources
    for original, copy in zip(copied.sources, begun.sources, strict=True):
        original.recalled, original.chunks = False, copy.chunks
    return copied.sources


def _remember(
    known: UploadIndex,
    sources: Sequence[Source],
    references: Sequence[FileEntry],
    digest: bytes,
    header: NewVersion,
) -> None:
    known.remember([source for source in sources if not source.recalled])
    if not header.base_version_id:
        known.remember_digest(sources, references, digest)


_STALE = (
    "{path} was changed since it was logged before, but its size and times are the same, as happens when "
    "times are set back. Nothing was committed. Log again: the file is then read in full"
)


class _StaleIndexEntry(Exception):
    """The upload index has wrong chunks of a file, although its status is the same."""

    def __init__(self, source: Source) -> None:
        super().__init__(str(source.file.source))
        self.source = source


class _VersionCommit:
    """Makes a version of an upload."""

    def __init__(
        self, connection: Connection, header: NewVersion, references: Sequence[FileEntry], request_id: str
    ) -> None:
        self._connection = connection
        self._header = header
        self._references = references
        self._request_id = request_id
        self.digest = b""
        """The version digest, once all content is known."""

    def __call__(self, upload_id: str, files: Sequence[FileEntry]) -> tuple[pb.ModelArtifactVersion, bool]:
        entries = [*files, *self._references]
        self.digest = chunking.version_digest(entry.digested() for entry in entries)
        reply = self._connection.artifacts.CommitModelArtifact(
            commit_messages(upload_id, self._header.message(self.digest), entries, self._request_id)
        )
        if not self._header.base_version_id:
            validation.check_same_digest(reply.version.digest, self.digest)
        return reply.version, reply.created


class Upload:
    """Sends the chunks of some files in one upload, which `open_upload` opens unless `upload_id` names one.

    `buffer_bytes` is the size of each of at most four buffers.
    """

    def __init__(
        self,
        connection: Connection,
        sources: Sequence[Source],
        open_upload: Callable[[], str],
        progress: Progress,
        upload_id: str = "",
        *,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        allocator.tune()
        self.upload_id = upload_id
        self._connection = connection
        self._open = open_upload
        self._progress = progress
        self._sources = sources
        self._total = sum(source.size for source in self._sources)
        self._retrier = Retrier(connection)
        self._pool = BufferPool(size=max(1, min(buffer_bytes, self._total)))
        self._seen: set[bytes] = set()
        self._lock = threading.Lock()
        self._broke = False
        """Whether a stream broke. Messages then hold one chunk each, so that more of them arrive complete."""
        self._group = ThreadGroup()
        self._group.on_failure(self._pool.stop)
        self._group.on_failure(self._retrier.stop)

    def run(self, commit: Callable[[str, Sequence[FileEntry]], T]) -> T:
        """What `commit` returns for the id of the upload and the entries of its files, once all are stored.

        It is called again after errors that a retry may help. Errors: see `upload`.
        """
        self._progress.start("upload", self._total)
        self.upload_id = self.upload_id or self._open()
        to_send = self._recall()
        self._let_server_read(self._to_read())
        if self._to_read():
            to_send += self._send(self._read)
        for left in reversed(range(ROUNDS)):
            self._send_until_done(to_send)
            try:
                return self._retrier.run(lambda: commit(self.upload_id, self._entries()))
            except errors.ChunksMissing:
                if not left:
                    raise
                to_send = self._missing_of(_located(self._sources))
        raise AssertionError("unreachable")

    def cancel(self) -> None:
        """Ends `run` soon, with an error, from another thread."""
        self._group.fail(errors.CommError("the upload was cancelled"))

    def _to_read(self) -> list[Source]:
        """The files whose chunks are not known."""
        return [source for source in self._sources if not source.recalled and not source.read_by_server]

    def _let_server_read(self, sources: Sequence[Source]) -> None:
        """Has a server on this machine read the files itself."""
        if self._connection.shares_disk and sources:
            shared_disk_upload.let_server_read(
                self._connection, self.upload_id, sources, self._group, self._retrier, self._progress
            )

    def _recall(self) -> list[LocatedChunk]:
        """The chunks of recalled files that the server lacks."""
        first = _located(source for source in self._sources if source.recalled)
        self._seen.update(located.chunk.digest for located in first)
        missing = self._missing_of(first)
        total = sum(source.size for source in self._sources if source.recalled)
        present = total - sum(located.chunk.size for located in missing)
        self._progress.advance(present, present)
        return missing

    def _send(self, feed: Callable[[SendQueue], None]) -> list[LocatedChunk]:
        """Runs streams while `feed` fills their queue; returns the chunks that they lost."""
        queue = SendQueue()
        streams = [
            Stream(
                self._connection,
                self.upload_id,
                queue,
                self._retrier,
                self._progress.advance,
                self._to_resend,
            )
            for _ in range(1 if self._total <= ONE_STREAM_BYTES or self._broke else STREAMS)
        ]
        for stream in streams:
            self._group.on_failure(stream.cancel)
        threads = [self._group.start(stream.run, "upload") for stream in streams]
        try:
            feed(queue)
        except BaseException as error:
            self._group.fail(error)
        queue.close()
        self._group.join(threads)
        return [located for stream in streams for located in stream.lost]

    def _read(self, queue: SendQueue) -> None:
        full: SimpleQueue[ReadBuffer | None] = SimpleQueue()

        def work() -> None:
            while (buffer := full.get()) is not None:
                self._handle(buffer, queue)

        workers = [self._group.start(work, "hash") for _ in range(WORKERS)]
        try:
            Reader(self._pool, full.put).read(self._to_read())
        finally:
            for _ in workers:
                full.put(None)
        self._group.join(workers)

    def _handle(self, buffer: ReadBuffer, queue: SendQueue) -> None:
        for each in buffer.chunks:
            digest = hashlib.sha256(buffer.bytes_of(each)).digest()
            each.source.chunks[each.number] = Chunk(digest, each.size)
        unseen = self._unseen(buffer.chunks)
        self._progress.advance(*[total_bytes(buffer.chunks) - total_bytes(unseen)] * 2)
        self._ask_and_queue(buffer, unseen, queue)

    def _unseen(self, chunks: Sequence[BufferedChunk]) -> list[BufferedChunk]:
        """The chunks that are new to this upload: each digest is asked about and sent once."""
        found: list[BufferedChunk] = []
        with self._lock:
            for each in chunks:
                digest = each.chunk.digest
                if digest not in self._seen:
                    self._seen.add(digest)
                    found.append(each)
        return found

    def _ask_and_queue(self, buffer: ReadBuffer, chunks: Sequence[BufferedChunk], queue: SendQueue) -> None:
        missing = [chunks[index] for index in self._missing([each.chunk for each in chunks])]
        present = total_bytes(chunks) - total_bytes(missing)
        self._progress.advance(present, present)
        self._queue(buffer, missing, queue)

    def _queue(self, buffer: ReadBuffer, chunks: Sequence[BufferedChunk], queue: SendQueue) -> None:
        ready = list(batches(buffer, chunks, 0 if self._broke else MESSAGE_BYTES))
        self._pool.hold(buffer, len(ready))
        for batch in ready:
            queue.put(batch)
        buffer.release()

    def _missing(self, chunks: Sequence[Chunk]) -> Sequence[int]:
        if not chunks:
            return ()
        request = upload_pb2.FindMissingChunksRequest(
            upload_id=self.upload_id,
            chunks=[upload_pb2.Chunk(digest=digest, size_bytes=size) for digest, size in chunks],
        )
        try:
            reply: upload_pb2.FindMissingChunksResponse = self._connection.uploads.FindMissingChunks(request)
        except errors.NotFound as error:
            raise errors.UploadExpired(error.message) from error
        if any(index >= len(chunks) for index in reply.missing):
            validation.refuse(f"of {len(chunks):,} chunks it misses others than those")
        return reply.missing

    def _missing_of(self, chunks: Sequence[LocatedChunk]) -> list[LocatedChunk]:
        """The chunks that the server lacks."""
        missing: list[LocatedChunk] = []
        for start in range(0, len(chunks), CHUNKS_PER_QUESTION):
            batch = chunks[start : start + CHUNKS_PER_QUESTION]
            missing += [batch[index] for index in self._missing([located.chunk for located in batch])]
        return missing

    def _to_resend(self, sent: Sequence[LocatedChunk]) -> list[LocatedChunk]:
        """The unacknowledged chunks that must be sent again."""
        self._broke = True
        missing = self._missing_of(sent)
        arrived = sum(located.chunk.size for located in sent) - sum(each.chunk.size for each in missing)
        if arrived:
            self._retrier.progress()
            self._progress.advance(arrived)
        return missing

    def _send_until_done(self, to_send: list[LocatedChunk]) -> None:
        # Terminates: `Retrier` gives up without progress, and progress shortens the list.
        while to_send:
            groups = list(_groups(to_send, self._pool.size))

            def feed(queue: SendQueue, groups: Sequence[Sequence[LocatedChunk]] = groups) -> None:
                for group in groups:
                    self._resend(group, queue)

            to_send = self._send(feed)

    def _resend(self, group: Sequence[LocatedChunk], queue: SendQueue) -> None:
        missing = self._to_resend(group) if self._broke else self._missing_of(group)
        if not missing:
            return
        buffer = self._pool.take()
        for located in missing:
            with located.source.opened() as raw:
                raw.seek(located.offset)
                buffer.read(raw, located.source, buffer.filled, located.chunk.size)
            each = located.at(buffer.filled)
            if chunking.chunk_digest(buffer.bytes_of(each)) != located.chunk.digest:
                source = located.source
                raise _StaleIndexEntry(source) if source.recalled else source.changed()
            buffer.chunks.append(each)
            buffer.filled += located.chunk.size
        self._queue(buffer, buffer.chunks, queue)

    def _entries(self) -> list[FileEntry]:
        return [
            FileEntry(
                source.file.path, source.size, chunking.file_digest(source.chunks), tuple(source.chunks)
            )
            for source in self._sources
        ]


def _located(sources: Iterable[Source]) -> list[LocatedChunk]:
    """The chunks of the files, each digest once."""
    found: dict[bytes, LocatedChunk] = {}
    for source in sources:
        offset = 0
        for index, chunk in enumerate(source.chunks):
            found.setdefault(chunk.digest, LocatedChunk(chunk, source, index, offset))
            offset += chunk.size
    return list(found.values())


def total_bytes(chunks: Sequence[BufferedChunk]) -> int:
    """The sum of their sizes."""
    return sum(each.size for each in chunks)


def _groups(chunks: Sequence[LocatedChunk], size: int) -> Iterator[list[LocatedChunk]]:
    """The chunks in groups that fit a buffer."""
    group: list[LocatedChunk] = []
    room = size
    for located in chunks:
        if group and (located.chunk.size > room or len(group) >= CHUNKS_PER_BUFFER):
            yield group
            group, room = [], size
        group.append(located)
        room -= located.chunk.size
    if group:
        yield group
