"""Stores chunks as they arrive in packs that are durable and known to the database."""

from __future__ import annotations

from concurrent.futures import Executor

from modelyard.contract.limits import UPLOAD_MESSAGE_DATA_BYTES
from modelyard_server.packs.budget import ByteBudget
from modelyard_server.packs.sealing import Begin, PackSealer, PendingSeals, Publish
from modelyard_server.packs.store import PackStore
from modelyard_server.packs.upload_stream import Limits, UploadStream

PACK_BYTES = 32 << 20
BUDGET_BYTES = 192 << 20
IDLE_SECONDS = 0.2
AGE_SECONDS = 3.0


class PackWriter:
    """The process's writer of packs: one store, one budget, any number of streams.

    Lives on one event loop; what blocks runs on the pools it is given.
    """

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
        if budget_bytes < UPLOAD_MESSAGE_DATA_BYTES:
            raise ValueError(f"the budget must be at least one message, {UPLOAD_MESSAGE_DATA_BYTES} bytes")
        self.store = store
        self.budget = ByteBudget(budget_bytes)
        self._sealer = PackSealer(begin, publish, store_pool, database_pool)
        self._limits = Limits(pack_bytes, idle_seconds, age_seconds)

    @property
    def sealing(self) -> int:
        """Packs that are being sealed."""
        return self._sealer.in_progress

    @property
    def pending_seals(self) -> PendingSeals:
        """The uploads whose broken streams still have packs being sealed."""
        return self._sealer.pending

    def stream(self, upload: str, entity_id: int) -> UploadStream:
        """A stream of chunks into `upload`. Use it as a context manager: otherwise its open pack leaks."""
        return UploadStream(self.store, self._sealer, self.budget, self._limits, upload, entity_id)

    async def drain(self) -> None:
        """Waits until no pack is being sealed or discarded. Streams that are open continue."""
        await self._sealer.drain()
