"""The steps of every pack, from its intent row to its chunk rows, each on the threads that it may block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeAlias

from modelyard_server import failpoints
from modelyard_server.observability import telemetry
from modelyard_server.packs.pack import Pack, PackedChunk
from modelyard_server.packs.store import pack_key

Begin: TypeAlias = Callable[[str, int], str]
"""(upload, entity) → pack id: inserts the pack as `writing` and commits."""

Publish: TypeAlias = Callable[[str, str, int, Sequence[PackedChunk]], None]
"""(upload, pack id, size, chunks): the fence, chunk rows and pins, committed; raises if fenced.

No digest is in `chunks` twice.
"""


class PackSteps:
    """The steps, in their order, and `discard` after them whatever happened."""

    def __init__(self, begin: Begin, publish: Publish, store_pool: Executor, database_pool: Executor) -> None:
        self._begin = begin
        self._publish = publish
        self.store_pool = store_pool
        self._database_pool = database_pool

    async def begin(self, upload: str, entity_id: int) -> str:
        """The id of a new pack, whose row says that it is being written."""

        def begin() -> str:
            failpoints.hit("writer.before_intent")
            with telemetry.step("pack intent", telemetry.PACK_SECONDS, "intent"):
                return self._begin(upload, entity_id)

        return await asyncio.get_running_loop().run_in_executor(self._database_pool, begin)

    async def put(self, pack: Pack, entity_id: int, pack_id: str) -> None:
        """Makes its bytes durable."""
        key = pack_key(entity_id, pack_id)
        await asyncio.get_running_loop().run_in_executor(self.store_pool, pack.put, key)

    async def publish(self, pack: Pack, upload: str, pack_id: str) -> None:
        """Makes its chunks usable, and has the upload hold them."""

        def publish() -> None:
            with telemetry.step("pack publish", telemetry.PACK_SECONDS, "publish"):
                self._publish(upload, pack_id, pack.size, list(pack.chunks.values()))
            telemetry.PACKS.add(1)
            telemetry.PACK_BYTES.add(pack.size)
            failpoints.hit("writer.after_publish")

        await asyncio.get_running_loop().run_in_executor(self._database_pool, publish)

    async def discard(self, pack: Pack) -> None:
        """Frees what the store holds of the open pack."""
        await asyncio.get_running_loop().run_in_executor(self.store_pool, pack.discard)
