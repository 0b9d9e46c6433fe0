"""From chunks as they arrive to packs that are durable and known to the database.

A stream's chunks go to its open pack as they come. A pack that is full, or
whose stream ends or pauses, is sealed: intent row, durable put, then one
transaction that makes it live; only after that are its chunks acknowledged.
Lives on one event loop; what blocks runs on the pools it is given.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

from modelyard.chunking import Chunk
from modelyard_server import failpoints, telemetry
from modelyard_server.packs.budget import ByteBudget
from modelyard_server.packs.pack import MESSAGE_BYTES, Pack, PackedChunk, check_sizes
from modelyard_server.packs.store import PackStore, pack_key

PACK_BYTES = 32 << 20
BUDGET_BYTES = 192 << 20
IDLE_SECONDS = 0.2
IN_FLIGHT = 2
"""Packs of one stream that may be sealing while the next one fills."""

_T = TypeVar("_T")
Message: TypeAlias = tuple[Sequence[Chunk], bytes | memoryview]
_log = logging.getLogger(__name__)


Begin = Callable[[str, int], str]
"""(upload, entity) → pack id: inserts the pack as `writing` and commits."""

Publish = Callable[[str, str, int, Sequence[PackedChunk]], None]
"""(upload, pack id, size, chunks): the fence, chunk rows and pins, committed; raises if fenced.

No digest is in `chunks` twice.
"""


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
    ) -> None:
        if budget_bytes < MESSAGE_BYTES:
            raise ValueError(f"the budget must be at least one message, {MESSAGE_BYTES} bytes")
        self.store = store
        self.begin = begin
        self.publish = publish
        self.store_pool = store_pool
        self.database_pool = database_pool
        self.budget = ByteBudget(budget_bytes)
        self.pack_bytes = pack_bytes
        self.idle_seconds = idle_seconds
        self.sealing = 0
        """Packs that are between their intent row and their acknowledgement."""
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

    async def on_store(self, call: Callable[[], _T]) -> _T:
        """Runs a call that may block on the store."""
        return await asyncio.get_running_loop().run_in_executor(self.store_pool, call)

    async def on_database(self, call: Callable[[], _T]) -> _T:
        """Runs a call that may block on the database."""
        return await asyncio.get_running_loop().run_in_executor(self.database_pool, call)


class UploadStream:
    """One stream of chunks, used by one task at a time; `acknowledgements` may run in another.

    Leaving the context discards what is not being sealed. Bytes are never
    copied: a message's `data` must not change after it was appended.
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
            while self._open is not None and self._open.size + len(data) > self._writer.pack_bytes:
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
        while self._sealing:
            await asyncio.wait(self._sealing)
        self._raise_if_over()

    async def close(self) -> None:
        """The sender is done: flushes, then lets `acknowledgements` end."""
        await self.flush()
        self._end(None)

    async def abort(self) -> None:
        """Takes nothing more and discards the open pack; packs being sealed go on without it. Idempotent."""
        self._end(None)
        if self._feeding is not None:
            self._feeding.cancel()
        await asyncio.shield(self._writer.spawn(self._discard_open()))

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
            self._open = Pack(self._writer.store)
        pack = self._open
        pack.size += len(data)
        loop = asyncio.get_running_loop()
        self._arriving = loop.run_in_executor(self._writer.store_pool, pack.add, chunks, data, hashed_here)
        self._arriving.add_done_callback(lambda done: self._has_arrived(pack, len(data), done.exception()))

    def _has_arrived(self, pack: Pack, size: int, error: BaseException | None) -> None:
        self._arriving = None
        if error is None and self._writer.store.holds_bytes:
            pack.held += size
        else:
            self._writer.budget.give(size)
        if error is not None:
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
            pack_id = await self._writer.on_database(self._begin)
            await self._writer.on_store(lambda: pack.put(pack_key(self._entity_id, pack_id)))
            await self._writer.on_database(lambda: self._publish(pack_id, pack))
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
            await self._writer.on_store(pack.discard)
        finally:
            self._writer.budget.give(held)

    def _begin(self) -> str:
        failpoints.hit("writer.before_intent")
        with telemetry.step("pack intent", telemetry.PACK_SECONDS, "intent"):
            return self._writer.begin(self._upload, self._entity_id)

    def _publish(self, pack_id: str, pack: Pack) -> None:
        with telemetry.step("pack publish", telemetry.PACK_SECONDS, "publish"):
            self._writer.publish(self._upload, pack_id, pack.size, list(pack.chunks.values()))
        telemetry.PACKS.add(1)
        telemetry.PACK_BYTES.add(pack.size)
        failpoints.hit("writer.after_publish")

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

    async def _discard_open(self) -> None:
        if self._arriving is not None:
            await asyncio.wait([self._arriving])
        self._stop_idle_timer()
        pack, self._open = self._open, None
        if pack is not None:
            await self._release(pack)

    def _end(self, error: BaseException | None) -> None:
        if self._error is None and not self._ended:
            self._error = error
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
