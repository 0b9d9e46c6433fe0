"""Sends the records of one kind of spools in the order of each writer, beside those that `drain` sends.

Only one process does so at a time, which `RunFolder.lock` ensures. The position of a
spool moves behind records only when they are sent. So after a crash some are sent
again, which must have no second effect. Memory is bounded: the next records of a spool
are read when those before them are sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from modelyard.spool import folders
from modelyard.spool.folders import Spools
from modelyard.spool.open_spool import OpenSpool
from modelyard.spool.reader import Position
from modelyard.spool.records import Record
from modelyard.spool.writer import SpoolWriter

Batch = Sequence[Mapping[str, Any]]
"""Contents of records that are sent together."""
CHUNK_BYTES = 64 << 10
"""How much of a spool is read at a time, and sent again after a crash."""


class RecordSender(Protocol):
    """Sends what records of a kind say."""

    def batches(self, contents: Batch) -> Iterable[Batch]:
        """The contents in the parts in which they are sent; some may be left out."""

    def send(self, batch: Batch) -> None:
        """Sends a part. Errors: CommError of calls that may succeed later."""

    def rest(self) -> Batch:
        """What is to be sent at the end of the run, after all records."""

    def state(self) -> Mapping[str, Any]:
        """What has to be known to go on in another process, as JSON."""

    def close(self) -> None:
        """Gives up what it holds on the server, when all is sent."""

    def cancel(self) -> None:
        """Ends a `send` that runs soon, with an error, from another thread."""


class RecordDrain:
    """Sends the records of a kind of spools. Not safe for threads, except `cancel`.

    `own` is the writer of this process, whose records may be in memory. With
    `keeps_sent` the spools stay when they are sent.
    """

    def __init__(
        self,
        spools: Spools,
        sender: RecordSender,
        *,
        own: SpoolWriter | None = None,
        keeps_sent: bool = False,
    ) -> None:
        self.progress = 0
        """Grows with everything that is sent."""
        self._kind = spools
        self._sender = sender
        self._own = own
        self._keeps_sent = keeps_sent
        self._positions = spools.positions
        self._spools: dict[str, OpenSpool] = {}
        self._batches: dict[str, list[Batch]] = {}
        """What is left to send of the present part of a spool."""
        self._own_done = 0

    @property
    def unsent(self) -> int:
        """How many records of this process wait."""
        return self._own.changes - self._own_done if self._own is not None else 0

    def advance(self) -> None:
        """Says that a part of a batch is sent."""
        self.progress += 1

    def turn(self, *, final: bool = False) -> None:
        """Sends everything that is in the spools now. `final`: what waits for the end of the run, too.

        Errors: CommError, and the next turn goes on where this one stopped.
        """
        for spool in self._found():
            self._send_all(spool)
            if not (spool.is_own or self._keeps_sent):
                self._remove_ended(spool)
        if final:
            for batch in self._sender.batches(self._sender.rest()):
                self._sender.send(batch)
                self.advance()
            self._keep_sent()
            self._sender.close()

    def drop_all(self) -> None:
        """Passes over what is in the spools: the run does not exist any more."""
        for spool in self._found():
            self._batches.clear()
            while spool.take(final=False) is not None:
                self._done(spool)

    def cancel(self) -> None:
        """Ends a turn that runs soon, with an error; from another thread."""
        self._sender.cancel()

    def _found(self) -> list[OpenSpool]:
        paths = {path.name: path for path in self._kind.writers()}
        for writer, path in paths.items():
            if writer not in self._spools:
                self._spools[writer] = self._open(writer, path)
        # A writer that has not written, or whose disk takes nothing, has no folder.
        if self._own is not None and self._own.changes and self._own.writer not in self._spools:
            self._spools[self._own.writer] = self._open(self._own.writer, self._own.folder)
        return list(self._spools.values())

    def _open(self, writer: str, path: Path) -> OpenSpool:
        own = self._own if self._own is not None and self._own.writer == writer else None
        return OpenSpool(path, self._positions.get(writer, Position()), own, CHUNK_BYTES)

    def _send_all(self, spool: OpenSpool) -> None:
        """Sends all parts of a spool that there are now."""
        writer = spool.path.name
        while (chunk := spool.take(final=False)) is not None:
            if writer not in self._batches:
                contents = [item.content for item in chunk.items if isinstance(item, Record)]
                self._batches[writer] = list(self._sender.batches(contents))
            while batches := self._batches[writer]:
                self._sender.send(batches[0])
                del batches[0]
                self.advance()
            del self._batches[writer]
            self._done(spool)
            self._keep_sent()

    def _done(self, spool: OpenSpool) -> None:
        if spool.is_own and spool.chunk is not None:
            self._own_done += len(spool.chunk.items)
        spool.done()

    def _remove_ended(self, spool: OpenSpool) -> None:
        """Removes the spool of a process that has ended, such as a worker of a pool, once it is sent."""
        lock = folders.take_ended(spool.path)
        if lock is None:
            return
        try:
            self._send_all(spool)
            folders.remove_spool(spool.path)
            del self._spools[spool.path.name]
            self._positions.pop(spool.path.name, None)
        finally:
            lock.release()

    def _keep_sent(self) -> None:
        for writer, spool in self._spools.items():
            self._positions[writer] = spool.position
        self._kind.keep_sent(self._positions, **self._sender.state())
        if not self._keeps_sent:
            for spool in self._spools.values():
                spool.discard_sent()
