"""A spool while what it holds is sent: the present part, and the position behind what is sent."""

from __future__ import annotations

from pathlib import Path

from modelyard.spool.reader import CHUNK_BYTES, Chunk, Position, SpoolReader
from modelyard.spool.writer import SpoolWriter


class OpenSpool:
    """The spool of one writer, read part by part.

    `own` is the writer where it is this process's: its records may be in memory. A part
    has at most `chunk_bytes`, or one longer record.
    """

    def __init__(
        self, path: Path, position: Position, own: SpoolWriter | None, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        self.path = path
        self.position = position
        """Behind the last part that is sent."""
        self.chunk: Chunk | None = None
        """What was read and is not sent completely."""
        self.is_own = own is not None
        self._own = own
        self._discarded = 1
        memory = own.memory_segment if own else lambda number: None
        self._reader = SpoolReader(path, position, memory, chunk_bytes)

    def take(self, *, final: bool) -> Chunk | None:
        """What is to be sent next; the same until `done`. `final`: a row that is still open, too."""
        if self.chunk is None:
            self.chunk = self._reader.read()
            if self.chunk is None and final:
                self.chunk = self._reader.rest()
        return self.chunk

    def done(self) -> None:
        """The present part is sent."""
        if self.chunk is not None:
            self.position = self.chunk.end
        self.chunk = None

    def discard_sent(self) -> None:
        """Deletes the segments that are sent."""
        if self.position.segment > self._discarded:
            self._discarded = self.position.segment
            self._reader.discard_before(self.position.segment)
            if self._own:
                self._own.discard_before(self.position.segment)
