"""From chunks as they arrive to packs that are durable and known to the database.

A stream's chunks go to its open pack as they come. A pack that is full or some
seconds old, or whose stream ends, pauses or breaks, is sealed: intent row,
durable put, then one transaction that makes it live; only after that are its
chunks acknowledged. A stream that breaks so loses no chunk that was verified.
Lives on one event loop; what blocks runs on the pools it is given.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeAlias

from modelyard.contract import errors
from modelyard.contract.chunking import Chunk
from modelyard_server.packs.budget import ByteBudget
from modelyard_server.packs.leaving import Leaving
from modelyard_server.packs.pack import MESSAGE_BYTES, Pack, check_sizes
from modelyard_server.packs.steps import Begin, PackSteps, Publish
from modelyard_server.packs.store import PackStore

PACK_BYTES = 32 << 20
BUDGET_BYTES = 192 << 20
IDLE_SECONDS = 0.2
AGE_SECONDS = 3.0
"""After that long an open pack takes no more, so that a slow sender is not without acknowledgements."""
IN_FLIGHT = 2
"""Packs of one stream that may be sealing while the next one fills."""

Message: TypeAlias = tuple[Sequence[Chunk], bytes | memoryview]
_log = logging.getLogger(__name__)


class PackWriter:
    """The process's writer of packs: one store, one budget, any number of streams."""

    def __init__(
        self,
        store: PackStore,
        begin: Begin,
        publish: Publish,
        *,
        store_pool: Executor,
        database_pool: Executor,
        budget_bytes: int = BUDGET_BYTES,
        pack_bytes: int = PACK_BYTES,
        idle_seconds: float = IDLE_SECONDS,
        age_seconds: float = AGE_SECONDS,
    ) -> None:
        if budget_bytes < MESSAGE_BYTES:
            raise ValueError(f"the budget must be at least one message, {MESSAGE_BYTES} bytes")
        self.store = store
        self.steps = PackSteps(begin, publish, store_pool, database_pool)
        self.budget = ByteBudget(budget_bytes)
        self.pack_bytes = pack_bytes
        self.idle_seconds = idle_seconds
        self.age_seconds = age_seconds
        self.sealing = 0
        """Packs that are between their intent row and their acknowledgement."""
        self.leaving = Leaving()
        self._tasks: set[asyncio.Task[None]] = set()

    def stream(self, upload: str, entity_id: int) -> UploadStream:
        """A stream of chunks into `upload`; use it as a context manager, else its open pack leaks."""
        return UploadStream(self, upload, entity_id)

    async def drain(self) -> None:
        """Waits until nothing is sealed or discarded any more. Streams that still run go on."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs work that outlives its stream; `drain` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class UploadStream:
    """One stream of chunks, used by one task at a time; `acknowledgements` may run in another.

    Leaving the context seals what was verified, without waiting for it. Bytes are
    never copied: a message's `data` must not change after it was appended.
    """

    def __init__(self, writer: PackWriter, upload: str, entity_id: int) -> None:
        self._writer = writer
        self._upload = upload
        self._entity_id = entity_id
        self._open: Pack | None = None
        self._arriving: asyncio.Future[None] | None = None
        self._sealing: set[asyncio.Task[None]] = set()
        self._unacknowledged: deque[Pack] = deque()
        self._idle: asyncio.TimerHandle | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._changed = asyncio.Event()
        self.durable = 0
        """How many chunks, counted from the stream's first, are durable."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    async def append(
        self, chunks: Sequence[Chunk], data: bytes | memoryview, *, hashed_here: bool = False
    ) -> None:
        """Takes one message: whole chunks and their bytes, end to end, at most 3 MiB, or nothing.

        Returns while the message is still being verified (not where its chunks
        were cut and hashed here: then it may be longer), so that the next can come
        meanwhile; waits for its predecessor and while the budget is spent. Errors of
        any earlier message or pack are raised here too: InvalidField, DigestMismatch,
        DiskFull, StoreUnavailable, and those of `begin` and `publish`. After an
        error the stream takes nothing more.
        """
        self._raise_if_over()
        if not hashed_here:
            check_sizes(chunks, data)
        if not chunks:
            return
        await self._take_budget(len(data))
        try:
            await self.arrived()
            while self._open is not None and self._takes_no_more(self._open, len(data)):
                await self._a_seal_to_be_free()
                self._seal()
        except BaseException:
            self._writer.budget.give(len(data))
            raise
        self._start_arriving(chunks, data, hashed_here)

    async def flush(self) -> None:
        """Seals the open pack and waits until everything appended is durable."""
        await self.arrived()
        self._seal()  # one more in flight: nothing comes after it
        await self.settled()
        self._raise_if_over()

    async def close(self) -> None:
        """The sender is done: flushes, then lets `acknowledgements` end."""
        await self.flush()
        self._end(None)

    async def abort(self) -> None:
        """Takes nothing more; what was verified is sealed after it, as `drain` waits for. Idempotent."""
        self._end(None)
        if self._feeding is not None:
            self._feeding.cancel()
        if self._open is None and self._arriving is None and not self._sealing:
            return
        left = self._writer.spawn(self._leave_open())
        self._writer.leaving.add(self._upload, self._writer.spawn(self._settle_after(left)))
        await asyncio.shield(left)

    async def settled(self) -> None:
        """Waits until none of its packs is being sealed, however that ends; after `abort` none begins."""
        while self._sealing:
            await asyncio.wait(self._sealing)

    async def acknowledgements(self) -> AsyncGenerator[int, None]:
        """`durable`, each time it has grown, until the stream is closed; raises what ended the stream."""
        seen = 0
        while True:
            if self.durable > seen:
                seen = self.durable
                yield seen
            elif self._error is not None:
                raise self._error
            elif self._ended:
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    async def exchange(self, messages: AsyncIterable[Message]) -> AsyncGenerator[int, None]:
        """Appends all messages, closes, and meanwhile yields the acknowledgements.

        An error of `messages` itself is raised here and ends the stream.
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
        except Exception as error:  # whatever it is, the reader of the acknowledgements raises it
            self._end(error)

    def _takes_no_more(self, pack: Pack, size: int) -> bool:
        if pack.size + size > self._writer.pack_bytes:
            return True
        is_old = asyncio.get_running_loop().time() - pack.opened_at > self._writer.age_seconds
        return is_old and len(self._sealing) < IN_FLIGHT  # a slow store gets larger packs, not more of them

    async def _take_budget(self, size: int) -> None:
        if self._writer.budget.try_take(size):
            return
        # Bytes come back when packs are sealed. If none is, open packs hold them: begin with this one.
        await self.arrived()
        if self._writer.sealing == 0:
            self._seal()
        await self._writer.budget.take(size)

    def _start_arriving(self, chunks: Sequence[Chunk], data: bytes | memoryview, hashed_here: bool) -> None:
        self._stop_idle_timer()
        if self._open is None:
            self._open = Pack(self._writer.store, asyncio.get_running_loop().time())
        pack = self._open
        pack.size += len(data)
        loop = asyncio.get_running_loop()
        self._arriving = loop.run_in_executor(
            self._writer.steps.store_pool, pack.add, chunks, data, hashed_here
        )
        self._arriving.add_done_callback(lambda done: self._has_arrived(pack, len(data), done.exception()))

    def _has_arrived(self, pack: Pack, size: int, error: BaseException | None) -> None:
        self._arriving = None
        if error is None and self._writer.store.holds_bytes:
            pack.held += size
        else:
            self._writer.budget.give(size)
        if error is not None:
            pack.size -= size
            self._end(error)
        else:
            self._start_idle_timer()

    async def arrived(self) -> None:
        """Waits until the last message's data is not needed any more; raises if the stream is over."""
        if self._arriving is not None:
            await asyncio.wait([self._arriving])
        self._raise_if_over()

    async def _a_seal_to_be_free(self) -> None:
        while len(self._sealing) >= IN_FLIGHT:
            await asyncio.wait(self._sealing, return_when=asyncio.FIRST_COMPLETED)
        self._raise_if_over()

    def _seal(self) -> None:
        """Starts to seal the open pack, if there is one."""
        self._stop_idle_timer()
        pack, self._open = self._open, None
        if pack is None:
            return
        self._unacknowledged.append(pack)
        self._writer.sealing += 1
        task = self._writer.spawn(self._seal_pack(pack))
        self._sealing.add(task)
        task.add_done_callback(self._sealing.discard)

    async def _seal_pack(self, pack: Pack) -> None:
        try:
            pack_id = await self._writer.steps.begin(self._upload, self._entity_id)
            await self._writer.steps.put(pack, self._entity_id, pack_id)
            await self._writer.steps.publish(pack, self._upload, pack_id)
            pack.is_sealed = True
            self._acknowledge()
        except Exception as error:  # whatever it is, it ends the stream and is raised there
            self._end(error)
        finally:
            self._writer.sealing -= 1
            await self._release(pack)

    async def _release(self, pack: Pack) -> None:
        held, pack.held = pack.held, 0
        try:
            await self._writer.steps.discard(pack)
        finally:
            self._writer.budget.give(held)

    def _acknowledge(self) -> None:
        """Counts sealed packs up to the first that is not: acknowledgements are in order."""
        while self._unacknowledged and self._unacknowledged[0].is_sealed:
            self.durable += self._unacknowledged.popleft().received
        self._changed.set()

    def _start_idle_timer(self) -> None:
        self._stop_idle_timer()
        self._idle = asyncio.get_running_loop().call_later(self._writer.idle_seconds, self._on_idle)

    def _stop_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _on_idle(self) -> None:
        if self._ended:
            return
        if len(self._sealing) >= IN_FLIGHT:
            self._start_idle_timer()
        elif self._arriving is None:
            self._seal()

    async def _settle_after(self, left: asyncio.Task[None]) -> None:
        await asyncio.wait([left])
        await self.settled()

    async def _leave_open(self) -> None:
        """Seals the open pack of a stream that is over; discards one that holds nothing whole."""
        if self._arriving is not None:
            await asyncio.wait([self._arriving])
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
            _log.info("upload %s: what came before the end of its stream is lost: %s", self._upload, error)
        elif error is not None and error is not self._error:
            _log.warning("upload %s: an error after the end of its stream", self._upload, exc_info=error)
        self._ended = True
        self._stop_idle_timer()
        self._changed.set()

    def _raise_if_over(self) -> None:
        if self._error is not None:
            raise self._error
        if self._ended:
            raise ValueError("the stream was closed")
