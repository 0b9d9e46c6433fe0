"""One stream of chunks into an upload, and the pack that it fills.

A stream's chunks are appended to its open pack as they arrive. A pack that is
full or some seconds old, or whose stream ends, pauses or breaks, is sealed, and
only then are its chunks acknowledged. So no verified chunk of a stream that
breaks is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

from modelyard.contract import errors
from modelyard.contract.chunking import Chunk
from modelyard_server.packs.budget import ByteBudget
from modelyard_server.packs.builder import PackBuilder, check_message
from modelyard_server.packs.sealing import PackSealer
from modelyard_server.packs.store import PackStore

IN_FLIGHT = 2
"""Packs of one stream that may be sealing while the next one fills."""

Message: TypeAlias = tuple[Sequence[Chunk], bytes | memoryview]
_log = logging.getLogger(__name__)


class Limits(NamedTuple):
    """When an open pack is sealed before its stream ends."""

    pack_bytes: int
    """When it would become larger than this."""
    idle_seconds: float
    """When no message has arrived for this long."""
    age_seconds: float
    """When it is this old, so that a slow sender gets acknowledgements too."""


class UploadStream:
    """One stream of chunks, used by one task at a time; `acknowledgements` may run in another.

    Leaving the context seals what was verified, without waiting for it. Bytes are
    not copied: a message's `data` must not change after it was appended.
    """

    def __init__(
        self,
        store: PackStore,
        sealer: PackSealer,
        budget: ByteBudget,
        limits: Limits,
        upload: str,
        entity_id: int,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._budget = budget
        self._limits = limits
        self._upload = upload
        self._entity_id = entity_id
        self._open: PackBuilder | None = None
        self._verifying: asyncio.Future[None] | None = None
        self._sealing: set[asyncio.Task[None]] = set()
        self._unacknowledged: deque[PackBuilder] = deque()
        self._idle: asyncio.TimerHandle | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._changed = asyncio.Event()
        self.durable = 0
        """How many chunks, counted from the first of the stream, are durable."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    async def append(
        self, chunks: Sequence[Chunk], data: bytes | memoryview, *, hashed_here: bool = False
    ) -> None:
        """Appends one message, all of it or nothing: whole chunks and their bytes, end to end, at most 3 MiB.

        With `hashed_here` the server cut and hashed the chunks: they are not verified,
        and the message may be longer. Returns while the message is still being
        verified, so that the next one can be received; waits for the message before
        it, and for the budget. Errors of earlier messages and packs are raised here
        too: InvalidField, DigestMismatch, DiskFull, StoreUnavailable, and those of
        `begin` and `publish`. After an error the stream accepts nothing more.
        """
        self._raise_if_ended()
        if not hashed_here:
            check_message(chunks, data)
        if not chunks:
            return
        await self._acquire_budget(len(data))
        try:
            await self.verified()
            while self._open is not None and self._must_seal_before(self._open, len(data)):
                await self._wait_for_seal_slot()
                self._seal()
        except BaseException:
            self._budget.release(len(data))
            raise
        self._start_verifying(chunks, data, hashed_here)

    async def flush(self) -> None:
        """Seals the open pack and waits until everything appended is durable."""
        await self.verified()
        self._seal()  # may exceed IN_FLIGHT by one: nothing is appended after it
        await self.settled()
        self._raise_if_ended()

    async def close(self) -> None:
        """Flushes, then ends the stream and with it `acknowledgements`."""
        await self.flush()
        self._end(None)

    async def abort(self) -> None:
        """Ends the stream at once; verified chunks are sealed in the background (see `drain`). Idempotent."""
        self._end(None)
        if self._feeding is not None:
            self._feeding.cancel()
        if self._open is None and self._verifying is None and not self._sealing:
            return
        sealing_rest = self._sealer.spawn(self._seal_rest())
        self._sealer.pending.add(self._upload, self._sealer.spawn(self._wait_until_settled(sealing_rest)))
        await asyncio.shield(sealing_rest)

    async def settled(self) -> None:
        """Waits until no pack of this stream is being sealed, whatever the outcome. `abort` starts none."""
        while self._sealing:
            await asyncio.wait(self._sealing)

    async def acknowledgements(self) -> AsyncGenerator[int, None]:
        """Yields `durable` each time it has grown, until the stream is closed; raises the stream's error."""
        reported = 0
        while True:
            if self.durable > reported:
                reported = self.durable
                yield reported
            elif self._error is not None:
                raise self._error
            elif self._ended:
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    async def exchange(self, messages: AsyncIterable[Message]) -> AsyncGenerator[int, None]:
        """Appends all messages and closes the stream, yielding acknowledgements as they come.

        An error raised by `messages` ends the stream and is raised here.
        """
        feeding = self._feeding = asyncio.create_task(self._feed(messages))
        try:
            async with aclosing(self.acknowledgements()) as counts:
                async for durable in counts:
                    yield durable
            await feeding
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])

    async def _feed(self, messages: AsyncIterable[Message]) -> None:
        try:
            async for chunks, data in messages:
                await self.append(chunks, data)
            await self.close()
        except Exception as error:  # raised to the reader of the acknowledgements
            self._end(error)

    def _must_seal_before(self, pack: PackBuilder, size: int) -> bool:
        if pack.size + size > self._limits.pack_bytes:
            return True
        is_old = asyncio.get_running_loop().time() - pack.opened_at > self._limits.age_seconds
        # While the store is slow, packs grow instead of becoming more.
        return is_old and len(self._sealing) < IN_FLIGHT

    async def _acquire_budget(self, size: int) -> None:
        if self._budget.try_acquire(size):
            return
        # Sealing frees bytes. If no pack is being sealed, open packs hold them all: seal this one.
        await self.verified()
        if self._sealer.in_progress == 0:
            self._seal()
        await self._budget.acquire(size)

    def _start_verifying(self, chunks: Sequence[Chunk], data: bytes | memoryview, hashed_here: bool) -> None:
        self._stop_idle_timer()
        if self._open is None:
            self._open = PackBuilder(self._store, asyncio.get_running_loop().time())
        pack = self._open
        pack.size += len(data)
        loop = asyncio.get_running_loop()
        self._verifying = loop.run_in_executor(self._sealer.store_pool, pack.add, chunks, data, hashed_here)
        self._verifying.add_done_callback(lambda done: self._on_verified(pack, len(data), done.exception()))

    def _on_verified(self, pack: PackBuilder, size: int, error: BaseException | None) -> None:
        self._verifying = None
        if error is None and self._store.holds_bytes:
            pack.held += size
        else:
            self._budget.release(size)
        if error is not None:
            pack.size -= size
            self._end(error)
        else:
            self._start_idle_timer()

    async def verified(self) -> None:
        """Waits until the last message is verified and its data may change. Raises the stream's error."""
        if self._verifying is not None:
            await asyncio.wait([self._verifying])
        self._raise_if_ended()

    async def _wait_for_seal_slot(self) -> None:
        while len(self._sealing) >= IN_FLIGHT:
            await asyncio.wait(self._sealing, return_when=asyncio.FIRST_COMPLETED)
        self._raise_if_ended()

    def _seal(self) -> None:
        """Starts sealing the open pack, if there is one."""
        self._stop_idle_timer()
        pack, self._open = self._open, None
        if pack is None:
            return
        self._unacknowledged.append(pack)
        self._sealer.in_progress += 1
        task = self._sealer.spawn(self._seal_pack(pack))
        self._sealing.add(task)
        task.add_done_callback(self._sealing.discard)

    async def _seal_pack(self, pack: PackBuilder) -> None:
        try:
            await self._sealer.seal(pack, self._upload, self._entity_id)
            pack.is_sealed = True
            self._acknowledge()
        except Exception as error:  # raised to the users of the stream
            self._end(error)
        finally:
            self._sealer.in_progress -= 1
            await self._release(pack)

    async def _release(self, pack: PackBuilder) -> None:
        held, pack.held = pack.held, 0
        try:
            await self._sealer.discard(pack)
        finally:
            self._budget.release(held)

    def _acknowledge(self) -> None:
        """Counts the sealed packs before the first unsealed one: acknowledgements are in order."""
        while self._unacknowledged and self._unacknowledged[0].is_sealed:
            self.durable += self._unacknowledged.popleft().received
        self._changed.set()

    def _start_idle_timer(self) -> None:
        self._stop_idle_timer()
        self._idle = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._on_idle)

    def _stop_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _on_idle(self) -> None:
        if self._ended:
            return
        if len(self._sealing) >= IN_FLIGHT:
            self._start_idle_timer()
        elif self._verifying is None:
            self._seal()

    async def _wait_until_settled(self, sealing_rest: asyncio.Task[None]) -> None:
        await asyncio.wait([sealing_rest])
        await self.settled()

    async def _seal_rest(self) -> None:
        """Seals the open pack of a stream that has ended, or discards it if it holds no whole message."""
        if self._verifying is not None:
            await asyncio.wait([self._verifying])
        if self._open is None or self._open.is_whole:
            self._seal()
            return
        self._stop_idle_timer()
        pack, self._open = self._open, None
        await self._release(pack)

    def _end(self, error: BaseException | None) -> None:
        if self._error is None and not self._ended:
            self._error = error
        elif isinstance(error, errors.CommError) and error is not self._error:
            _log.info("upload %s: chunks sent before its stream ended are lost: %s", self._upload, error)
        elif error is not None and error is not self._error:
            _log.warning("upload %s: an error after the end of its stream", self._upload, exc_info=error)
        self._ended = True
        self._stop_idle_timer()
        self._changed.set()

    def _raise_if_ended(self) -> None:
        if self._error is not None:
            raise self._error
        if self._ended:
            raise ValueError("the stream was closed")
