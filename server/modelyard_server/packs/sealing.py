"""Seals packs: intent row, durable put, then one transaction that makes the pack live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from typing import Any, TypeAlias

from modelyard_server import failpoints
from modelyard_server.observability import telemetry
from modelyard_server.packs.builder import PackBuilder, PackedChunk
from modelyard_server.packs.store import pack_key

PENDING_WAIT_SECONDS = 10.0

Begin: TypeAlias = Callable[[str], str]
"""upload → pack id: inserts the pack as `writing` and commits."""

Publish: TypeAlias = Callable[[str, str, int, Sequence[PackedChunk]], None]
"""(upload, pack id, size, chunks): the fence, chunk rows and pins, committed; raises if fenced.

`chunks` contains each digest once.
"""


class PackSealer:
    """Seals packs of any number of streams, each step on the thread pool that it may block."""

    def __init__(self, begin: Begin, publish: Publish, store_pool: Executor, database_pool: Executor) -> None:
        self._begin = begin
        self._publish = publish
        self.store_pool = store_pool
        self._database_pool = database_pool
        self.in_progress = 0
        """Packs between the start of their sealing and its end."""
        self.pending = PendingSeals()
        self._tasks: set[asyncio.Task[None]] = set()

    async def seal(self, pack: PackBuilder, upload: str, entity_id: int) -> None:
        """Makes the pack durable and live, with its chunks pinned for the upload."""
        pack_id = await self._insert_intent(upload)
        await self._put(pack, pack_key(entity_id, pack_id))
        await self._make_live(pack, upload, pack_id)

    async def discard(self, pack: PackBuilder) -> None:
        """Frees what the store holds of the open pack."""
        await asyncio.get_running_loop().run_in_executor(self.store_pool, pack.discard)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs work that may outlive its stream; `drain` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self) -> None:
        """Waits until no spawned work is left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _insert_intent(self, upload: str) -> str:
        def begin() -> str:
            failpoints.hit("writer.before_intent")
            with telemetry.step("pack intent", telemetry.PACK_SECONDS, "intent"):
                return self._begin(upload)

        return await asyncio.get_running_loop().run_in_executor(self._database_pool, begin)

    async def _put(self, pack: PackBuilder, key: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self.store_pool, pack.put, key)

    async def _make_live(self, pack: PackBuilder, upload: str, pack_id: str) -> None:
        def publish() -> None:
            with telemetry.step("pack publish", telemetry.PACK_SECONDS, "publish"):
                self._publish(upload, pack_id, pack.size, list(pack.chunks.values()))
            telemetry.PACKS.add(1)
            telemetry.PACK_BYTES.add(pack.size)
            failpoints.hit("writer.after_publish")

        await asyncio.get_running_loop().run_in_executor(self._database_pool, publish)


class PendingSeals:
    """The uploads whose broken streams still have packs being sealed.

    A client that lost its stream and asks which chunks are missing waits for
    these, so that it does not send again what is about to be durable.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    def add(self, upload: str, task: asyncio.Task[None]) -> None:
        """Records a task that seals packs of the upload, until it ends."""
        tasks = self._tasks.setdefault(upload, set())
        tasks.add(task)

        def remove(done: asyncio.Task[None]) -> None:
            tasks.discard(done)
            if not tasks and self._tasks.get(upload) is tasks:
                del self._tasks[upload]

        task.add_done_callback(remove)

    def __contains__(self, upload: str) -> bool:
        """Whether packs of the upload are still being sealed. May be called from any thread."""
        return upload in self._tasks

    async def wait(self, upload: str) -> None:
        """Waits until no pack of the upload is being sealed, at most 10 s: the store may be slow or away."""
        tasks = self._tasks.get(upload)
        if tasks:
            await asyncio.wait(set(tasks), timeout=PENDING_WAIT_SECONDS)
            self._tasks.pop(upload, None)
