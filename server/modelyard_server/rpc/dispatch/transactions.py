"""Runs domain rules in transactions on the database's threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db.engine import Database
from modelyard_server.db.tables import changed_runs
from modelyard_server.domain import events
from modelyard_server.domain.content import confirmation, damage
from modelyard_server.packs.confirmed import ConfirmedPacks, PackLoss, PacksUnconfirmed
from modelyard_server.rpc.dispatch.executors import STORE_THREADS, Executors

T = TypeVar("T")
log = logging.getLogger(__name__)

MOST_PACK_CHECKS = STORE_THREADS // 2
"""Store threads that check packs at once, for all calls together: the others serve uploads and downloads."""
_PACKS_PER_CHECK_LOCAL = 1_000
_PACKS_PER_CHECK_REMOTE = 20
_ROUNDS = 5
"""How often a write is tried that must wait for packs, or for seals, between its tries."""


class RunAgainAfter(Exception):
    """Raised by a rule that has to run again once `condition` has returned."""

    def __init__(self, condition: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self.condition = condition


class Transactions:
    """Runs rules on the database's threads. Cancelling a caller does not interrupt a running transaction."""

    def __init__(self, database: Database, executors: Executors, packs: ConfirmedPacks | None = None) -> None:
        self.database = database
        self._executors = executors
        self._packs = packs
        self._pack_checks = asyncio.Semaphore(MOST_PACK_CHECKS)
        self._on_events: list[Callable[[set[int]], None]] = []
        self._on_runs: list[Callable[[set[str]], None]] = []

    def on_events(self, callback: Callable[[set[int]], None]) -> None:
        """Registers a callback for committed writes that made events; it gets the ids of their projects.

        It is called on the event loop.
        """
        self._on_events.append(callback)

    def on_runs(self, callback: Callable[[set[str]], None]) -> None:
        """Registers a callback for committed writes that changed runs; it gets their ids.

        It is called on the event loop.
        """
        self._on_runs.append(callback)

    async def read(self, rule: Callable[[Session], T], *, short: bool = False) -> T:
        """Returns the rule's result from a reading transaction.

        `short` rules read a few rows by key. With SQLite they share the lookup thread.
        """
        if short and self._executors.lookups is not None:
            found: T = await self._executors.lookups.run(lambda: self.database.read(rule))
            return found
        return await _run_to_end(self._executors.reads, lambda: self.database.read(rule))

    async def write(self, rule: Callable[[Session], T]) -> T:
        """Returns the rule's result once it is committed.

        A rule that raises RunAgainAfter or PacksUnconfirmed is rolled back, and runs again when the
        condition holds: a transaction never waits for the network or the store.
        """
        for _ in range(_ROUNDS):
            try:
                return await self._write(rule)
            except RunAgainAfter as again:
                await again.condition()
            except PacksUnconfirmed as unconfirmed:
                await self._check_packs(unconfirmed.pack_ids)
        raise errors.RetryTransaction(f"the call could not run after {_ROUNDS} tries; repeat it")

    async def _check_packs(self, pack_ids: Sequence[str]) -> None:
        """Asks the store for the packs, and quarantines the chunks of those that are certainly lost."""
        assert self._packs is not None
        confirmed = self._packs
        packs = await self.read(lambda session: confirmation.pack_sizes(session, pack_ids))
        loop = asyncio.get_running_loop()
        # A remote store answers several requests at a time; for a folder, one thread with many is faster.
        size = _PACKS_PER_CHECK_REMOTE if confirmed.store.holds_bytes else _PACKS_PER_CHECK_LOCAL

        async def check(first: int) -> list[PackLoss]:
            async with self._pack_checks:
                return await loop.run_in_executor(
                    self._executors.store, confirmed.losses, packs[first : first + size]
                )

        found = await asyncio.gather(*(check(first) for first in range(0, len(packs), size)))
        losses = [loss for some in found for loss in some]
        if losses:
            await self._write(lambda session: damage.quarantine_losses(session, losses))
        confirmed.add(pack_ids)

    async def _write(self, rule: Callable[[Session], T]) -> T:
        projects: set[int] = set()
        runs: set[str] = set()

        def collecting(session: Session) -> T:
            result = rule(session)
            projects.update(events.changed_projects(session))
            runs.update(changed_runs(session))
            return result

        result = await _run_to_end(self._executors.writes, lambda: self.database.write(collecting))
        if projects:
            for callback in self._on_events:
                callback(projects)
        if runs:
            for tell in self._on_runs:
                tell(runs)
        return result


async def _run_to_end(pool: Executor, work: Callable[[], T]) -> T:
    """The result of work on the pool. When the caller is cancelled, the work still runs to its end."""
    future = asyncio.get_running_loop().run_in_executor(pool, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(_log_failure)
        raise


def _log_failure(future: asyncio.Future[T]) -> None:
    """Logs the error of work whose caller was cancelled."""
    if not future.cancelled() and (error := future.exception()) is not None:
        log.info("a transaction failed after its client had disconnected: %s", error)
