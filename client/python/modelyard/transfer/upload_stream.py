"""UploadChunks streams: what waits to be sent, what is not acknowledged, what was lost."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelyard.contract import errors
from modelyard.contract.chunking import Chunk
from modelyard.rpc.manifest import Connection
from modelyard.rpc.retry import Patience, is_transient
from modelyard.transfer import framing
from modelyard.transfer.file_reader import Piece, Source, Window

MESSAGE_BYTES = 1 << 20
CHUNKS_PER_MESSAGE = 1_000


class Located(NamedTuple):
    """A chunk and where its bytes can be read again."""

    chunk: Chunk
    source: Source
    number: int
    offset: int

    def at(self, start: int) -> Piece:
        """The piece it is when its bytes lie at `start` of a window."""
        return Piece(self.source, self.number, self.offset, start, self.chunk.size)


@dataclass(frozen=True, eq=False)
class Load:
    """The content of one message, still in its window."""

    window: Window
    pieces: Sequence[Piece]

    def located(self) -> list[Located]:
        """Its chunks, in order."""
        return [Located(piece.chunk, piece.source, piece.number, piece.offset) for piece in self.pieces]

    def parts(self) -> list[memoryview]:
        """Its bytes, in as few slices as possible."""
        spans: list[list[int]] = []
        for piece in self.pieces:
            if spans and spans[-1][1] == piece.start:
                spans[-1][1] += piece.size
            else:
                spans.append([piece.start, piece.start + piece.size])
        return [self.window.view[start:end] for start, end in spans]


def loads(window: Window, pieces: Sequence[Piece], limit: int = MESSAGE_BYTES) -> Iterator[Load]:
    """The pieces as messages of at most `limit` bytes; a piece is never split."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        if batch and (size + piece.size > limit or len(batch) >= CHUNKS_PER_MESSAGE):
            yield Load(window, batch)
            batch, size = [], 0
        batch.append(piece)
        size += piece.size
    if batch:
        yield Load(window, batch)


class SendQueue:
    """Loads that wait for a stream. Its length is bounded by the windows they lie in."""

    def __init__(self) -> None:
        self._loads: deque[Load] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, load: Load) -> None:
        """Adds a load; the window has to be held for it."""
        with self._changed:
            self._loads.append(load)
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing will be added any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self) -> bool:
        """True when there is a load, False when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._loads or self._closed)
            return bool(self._loads)

    def take(self, flight: Flight) -> Load | None:
        """The next load, counted in the flight; None when the queue or the flight has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._loads or self._closed or flight.broken)
            if flight.broken or not self._loads:
                return None
            load = self._loads.popleft()
            # Under the lock: a flight that breaks now knows already what it carried.
            flight.unacknowledged.extend(load.located())
            return load

    def break_off(self, flight: Flight) -> None:
        """Ends a flight: it takes nothing more."""
        with self._changed:
            flight.broken = True
            self._changed.notify_all()


class Flight:
    """One call of UploadChunks."""

    def __init__(self, upload_id: str, queue: SendQueue) -> None:
        self._upload_id = upload_id
        self._queue = queue
        self._acknowledged = 0
        self.unacknowledged: deque[Located] = deque()
        self.broken = False
        self.error: Exception | None = None

    def requests(self) -> Iterator[bytes]:
        """The serialized messages, built as gRPC asks for them."""
        upload_id = self._upload_id
        try:
            while (load := self._queue.take(self)) is not None:
                message = framing.upload_chunks_request(
                    upload_id, [located.chunk for located in load.located()], load.parts()
                )
                load.window.release()
                upload_id = ""
                yield message
        except Exception as error:
            self.error = error  # gRPC would only say that iterating failed
            raise

    def acknowledge(self, durable_chunks: int) -> int:
        """Takes note of a cumulative acknowledgement; how many bytes it newly covers."""
        size = 0
        while self._acknowledged < durable_chunks and self.unacknowledged:
            size += self.unacknowledged.popleft().chunk.size
            self._acknowledged += 1
        return size


class Stream:
    """Sends loads until the queue ends, over as many calls as it takes.

    What a broken call left unacknowledged is asked about by `missing_of`; what
    it gives back goes to `lost`, to be read again.
    """

    def __init__(
        self,
        connection: Connection,
        upload_id: str,
        queue: SendQueue,
        patience: Patience,
        acknowledged: Callable[[int], None],
        missing_of: Callable[[Sequence[Located]], list[Located]],
    ) -> None:
        self._connection = connection
        self._upload_id = upload_id
        self._queue = queue
        self._patience = patience
        self._acknowledged = acknowledged
        self._missing_of = missing_of
        self._mismatches = 0
        self._call: Any = None
        self._cancelled = False
        self.lost: list[Located] = []

    def run(self) -> None:
        """Returns when everything taken was acknowledged or is in `lost`. Errors: any that will not pass."""
        while self._queue.wait() and not self._cancelled:
            channel = self._connection.channel
            flight = Flight(self._upload_id, self._queue)
            try:
                self._fly(flight)
            except Exception as error:
                self._queue.break_off(flight)
                if self._call is not None:
                    self._call.cancel()
                if isinstance(error, errors.StreamStalled) and not flight.unacknowledged:
                    continue  # there was nothing to send for so long: no trouble, and no reason to wait
                self._endure(flight.error or error, channel)
                self.lost.extend(self._not_arrived(flight))

    def cancel(self) -> None:
        """Cuts the call that is under way."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def _fly(self, flight: Flight) -> None:
        self._call = framing.upload_chunks_call(self._connection)(flight.requests())
        for reply in self._call:
            size = flight.acknowledge(reply.durable_chunks)
            if size:
                self._patience.progress()
                self._acknowledged(size)
        if flight.unacknowledged:
            raise errors.ServerStopping("the server ended the stream before everything was durable")

    def _not_arrived(self, flight: Flight) -> list[Located]:
        """What of a broken call the server does not have; where it cannot be asked now, all of it."""
        sent = list(flight.unacknowledged)
        if self._cancelled:
            return sent
        try:
            return self._missing_of(sent)
        except errors.CommError as error:
            if not is_transient(error):
                raise
            return sent

    def _endure(self, error: Exception, channel: Any) -> None:
        if self._cancelled:
            return
        if isinstance(error, errors.DigestMismatch) and not self._mismatches:
            self._mismatches += 1  # a flipped bit on the way: what was lost is read and hashed again
            return
        if isinstance(error, errors.NotFound):
            raise errors.UploadExpired(error.message) from error
        self._patience.wait(error, channel)
