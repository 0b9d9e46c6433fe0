"""UploadChunks streams: batches that wait, chunks that are not acknowledged, chunks that were lost."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelyard.contract import errors
from modelyard.contract.chunking import Chunk
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import Retrier, StreamEndedEarly, is_retryable
from modelyard.transfer import framing
from modelyard.transfer.file_reader import BufferedChunk, ReadBuffer, Source

MESSAGE_BYTES = 1 << 20
CHUNKS_PER_MESSAGE = 1_000


class LocatedChunk(NamedTuple):
    """A chunk of a file, and where in the file its bytes can be read again."""

    chunk: Chunk
    source: Source
    number: int
    offset: int

    def at(self, start: int) -> BufferedChunk:
        """The same chunk with its bytes at `start` of a buffer."""
        return BufferedChunk(self.source, self.number, self.offset, start, self.chunk.size)


@dataclass(frozen=True, eq=False)
class ChunkBatch:
    """The chunks of one UploadChunksRequest; their bytes are still in the read buffer."""

    buffer: ReadBuffer
    chunks: Sequence[BufferedChunk]

    def located(self) -> list[LocatedChunk]:
        """The chunks with their places in their files, in order."""
        return [LocatedChunk(each.chunk, each.source, each.number, each.offset) for each in self.chunks]

    def parts(self) -> list[memoryview]:
        """The bytes, adjacent chunks joined into one slice."""
        spans: list[list[int]] = []
        for each in self.chunks:
            if spans and spans[-1][1] == each.start:
                spans[-1][1] += each.size
            else:
                spans.append([each.start, each.start + each.size])
        return [self.buffer.view[start:end] for start, end in spans]


def batches(
    buffer: ReadBuffer, chunks: Sequence[BufferedChunk], limit: int = MESSAGE_BYTES
) -> Iterator[ChunkBatch]:
    """The chunks as messages of at most `limit` bytes; a chunk is never split."""
    batch: list[BufferedChunk] = []
    size = 0
    for each in chunks:
        if batch and (size + each.size > limit or len(batch) >= CHUNKS_PER_MESSAGE):
            yield ChunkBatch(buffer, batch)
            batch, size = [], 0
        batch.append(each)
        size += each.size
    if batch:
        yield ChunkBatch(buffer, batch)


class SendQueue:
    """Batches that wait to be sent. The buffers that they lie in bound their number."""

    def __init__(self) -> None:
        self._batches: deque[ChunkBatch] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, batch: ChunkBatch) -> None:
        """Adds a batch, for which the buffer is held already."""
        with self._changed:
            self._batches.append(batch)
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the queue: no batch follows."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self) -> bool:
        """Waits for a batch. False when the queue has ended and is empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._batches or self._closed)
            return bool(self._batches)

    def take(self, upload_call: UploadCall) -> ChunkBatch | None:
        """The next batch, noted as unacknowledged of this call; None when the queue or the call has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._batches or self._closed or upload_call.broken)
            if upload_call.broken or not self._batches:
                return None
            batch = self._batches.popleft()
            # Under the lock, so that a call that breaks now has already noted what it sent.
            upload_call.unacknowledged.extend(batch.located())
            return batch

    def break_off(self, upload_call: UploadCall) -> None:
        """Marks a call as broken: it takes no more batches."""
        with self._changed:
            upload_call.broken = True
            self._changed.notify_all()


class UploadCall:
    """One call of UploadChunks."""

    def __init__(self, upload_id: str, queue: SendQueue) -> None:
        self._upload_id = upload_id
        self._queue = queue
        self._acknowledged = 0
        self.unacknowledged: deque[LocatedChunk] = deque()
        self.broken = False
        self.error: Exception | None = None

    def requests(self) -> Iterator[bytes]:
        """The serialized messages, built as gRPC asks for them."""
        upload_id = self._upload_id
        try:
            while (batch := self._queue.take(self)) is not None:
                message = framing.upload_chunks_request(
                    upload_id, [located.chunk for located in batch.located()], batch.parts()
                )
                batch.buffer.release()
                upload_id = ""
                yield message
        except Exception as error:
            self.error = error  # gRPC would only say that iterating failed
            raise

    def acknowledge(self, durable_chunks: int) -> int:
        """Applies a cumulative acknowledgement; returns the number of bytes that it newly covers."""
        size = 0
        while self._acknowledged < durable_chunks and self.unacknowledged:
            size += self.unacknowledged.popleft().chunk.size
            self._acknowledged += 1
        return size


class Stream:
    """Sends batches until the queue ends, over as many calls as it takes.

    `missing_of` is asked which chunks of a broken call the server lacks; those
    are appended to `lost`, to be read and sent again.
    """

    def __init__(
        self,
        connection: Connection,
        upload_id: str,
        queue: SendQueue,
        retrier: Retrier,
        acknowledged: Callable[[int], None],
        missing_of: Callable[[Sequence[LocatedChunk]], list[LocatedChunk]],
    ) -> None:
        self._connection = connection
        self._upload_id = upload_id
        self._queue = queue
        self._retrier = retrier
        self._acknowledged = acknowledged
        self._missing_of = missing_of
        self._mismatches = 0
        self._call: Any = None
        self._cancelled = False
        self.lost: list[LocatedChunk] = []

    def run(self) -> None:
        """Returns when all chunks are acknowledged or in `lost`. Errors: those that a retry does not help."""
        while self._queue.wait() and not self._cancelled:
            channel = self._connection.channel
            upload_call = UploadCall(self._upload_id, self._queue)
            try:
                self._run_call(upload_call)
            except Exception as error:
                self._queue.break_off(upload_call)
                if self._call is not None:
                    self._call.cancel()
                if isinstance(error, errors.StreamStalled) and not upload_call.unacknowledged:
                    continue  # the call was idle for too long, which is no failure: no backoff
                self._before_retry(upload_call.error or error, channel)
                self.lost.extend(self._not_arrived(upload_call))

    def cancel(self) -> None:
        """Cancels the call that is running."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def _run_call(self, upload_call: UploadCall) -> None:
        self._call = framing.upload_chunks_call(self._connection)(upload_call.requests())
        for reply in self._call:
            size = upload_call.acknowledge(reply.durable_chunks)
            if size:
                self._retrier.progress()
                self._acknowledged(size)
        if upload_call.unacknowledged:
            raise StreamEndedEarly("the server ended the stream before everything was durable")

    def _not_arrived(self, upload_call: UploadCall) -> list[LocatedChunk]:
        """The chunks of a broken call that the server lacks; all of them where it cannot be asked now."""
        sent = list(upload_call.unacknowledged)
        if self._cancelled:
            return sent
        try:
            return self._missing_of(sent)
        except errors.CommError as error:
            if not is_retryable(error):
                raise
            return sent

    def _before_retry(self, error: Exception, channel: Any) -> None:
        if self._cancelled:
            return
        if isinstance(error, errors.DigestMismatch) and not self._mismatches:
            self._mismatches += 1  # corrupted in transit: the lost chunks are read and hashed again
            return
        if isinstance(error, errors.NotFound):
            raise errors.UploadExpired(error.message) from error
        self._retrier.wait(error, channel)
