"""Threads for what blocks, one pool for each kind, so that a slow store never holds up a unary call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db.engine import Database
from modelyard_server.domain import events
from modelyard_server.domain.content import damage
from modelyard_server.observability import telemetry
from modelyard_server.packs.confirmed import ConfirmedPacks, PackLoss, PacksUnconfirmed
from modelyard_server.rpc.dispatch.lookup_thread import Lane

T = TypeVar("T")
log = logging.getLogger(__name__)

SQLITE_READERS = 4
SQLITE_CONNECTIONS = SQLITE_READERS + 1
"""That read: one is the lane's."""
POSTGRESQL_CONNECTIONS = 8
STORE_THREADS = 8
HASH_THREADS = 2
_STATS_TOGETHER = 1_000
_HEADS_TOGETHER = 20
_LOOKS_AT_ONCE = STORE_THREADS // 2
"""Of all callers together: uploads and downloads go on beside them."""
_ROUNDS = 5


class NotYet(Exception):
    """A rule cannot answer before `until` has ended."""

    def __init__(self, until: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self.until = until


class Pools:
    """The process's thread pools."""

    def __init__(self, *, is_sqlite: bool) -> None:
        self.lookups: Lane | None = None
        if is_sqlite:
            # Each read waits for a disk at most. A database far away is asked by many threads at a time.
            self.lookups = Lane("database-lookups")
            self.reads: Executor = telemetry.threads("database-reads", SQLITE_READERS)
            # SQLite has one writer: the others wait here, where they hold up no reader.
            self.writes: Executor = telemetry.threads("database-writes", 1)
        else:
            self.reads = self.writes = telemetry.threads("database", POSTGRESQL_CONNECTIONS)
        self.store: Executor = telemetry.threads("store", STORE_THREADS)
        self.hashing: Executor = telemetry.threads("hashing", HASH_THREADS)
        self.decoding: Executor = telemetry.threads("decoding", 1)

    def close(self) -> None:
        """Waits for what runs, and ends the threads."""
        if self.lookups is not None:
            self.lookups.close()
        for pool in (self.reads, self.writes, self.store, self.hashing, self.decoding):
            pool.shutdown(wait=True, cancel_futures=False)


class Transactions:
    """Runs rules on the database's threads. A caller that is cancelled never tears one in half."""

    def __init__(self, database: Database, pools: Pools, packs: ConfirmedPacks | None = None) -> None:
        self.database = database
        self._pools = pools
        self._packs = packs
        self._looking = asyncio.Semaphore(_LOOKS_AT_ONCE)
        self._on_events: list[Callable[[set[int]], None]] = []

    def on_events(self, act: Callable[[set[int]], None]) -> None:
        """Has `act` called, on the event loop, with the projects that a committed write has events of."""
        self._on_events.append(act)

    async def read(self, rule: Callable[[Session], T], *, short: bool = False) -> T:
        """The rule's result from a reading transaction; a short one waits for other short ones alone."""
        if short and self._pools.lookups is not None:
            found: T = await self._pools.lookups.run(lambda: self.database.read(rule))
            return found
        return await _unbroken(self._pools.reads, lambda: self.database.read(rule))

    async def write(self, rule: Callable[[Session], T]) -> T:
        """The rule's result once it is committed.

        A rule that raises NotYet or PacksUnconfirmed leaves nothing and runs again
        when that is done, since a transaction waits for neither network nor store.
        """
        for _ in range(_ROUNDS):
            try:
                return await self._write(rule)
            except NotYet as later:
                await later.until()
            except PacksUnconfirmed as unconfirmed:
                await self._look_at(unconfirmed.pack_ids)
        raise errors.RetryTransaction("the chunks of this call move all the time; repeat it")

    async def _look_at(self, pack_ids: Sequence[str]) -> None:
        """Asks the store for packs, and quarantines what it has surely lost of them."""
        assert self._packs is not None
        confirmed = self._packs
        packs = await self.read(lambda session: damage.sizes(session, pack_ids))
        loop = asyncio.get_running_loop()
        # A store that is reached by a network answers several at a time; a folder is quicker than a thread.
        part = _HEADS_TOGETHER if confirmed.store.holds_bytes else _STATS_TOGETHER

        async def look(first: int) -> list[PackLoss]:
            async with self._looking:
                some = packs[first : first + part]
                return await loop.run_in_executor(self._pools.store, confirmed.losses, some)

        found = await asyncio.gather(*(look(first) for first in range(0, len(packs), part)))
        losses = [loss for some in found for loss in some]
        if losses:
            await self._write(lambda session: damage.quarantine_losses(session, losses))
        confirmed.add(pack_ids)

    async def _write(self, rule: Callable[[Session], T]) -> T:
        projects: set[int] = set()

        def noting(session: Session) -> T:
            result = rule(session)
            projects.update(events.concerned(session))
            return result

        result = await _unbroken(self._pools.writes, lambda: self.database.write(noting))
        if projects:
            for act in self._on_events:
                act(projects)
        return result


async def _unbroken(pool: Executor, work: Callable[[], T]) -> T:
    future = asyncio.get_running_loop().run_in_executor(pool, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(_nobody_waits)
        raise


def _nobody_waits(future: asyncio.Future[T]) -> None:
    """The client is gone; what went wrong is at least said in the log."""
    if not future.cancelled() and (error := future.exception()) is not None:
        log.info("a transaction failed after its client had gone: %s", error)
