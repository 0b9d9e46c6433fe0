"""Writes marks of the numbers that were given out to the store, for a database that is lost."""

from __future__ import annotations

import asyncio
import functools
import logging

from modelyard.contract import errors
from modelyard_server.domain.registry import number_marks
from modelyard_server.domain.registry.number_marks import Due
from modelyard_server.packs import PackStore
from modelyard_server.rpc.dispatch.executors import Executors
from modelyard_server.rpc.dispatch.transactions import Transactions

SECONDS = 10.0
"""Between two rounds. What is given out between the last one and a loss, a restore leaves room for."""
LAST_SECONDS = 5.0
"""The most that the last round of a server, when it stops, takes."""
_PROJECTS = 100
log = logging.getLogger(__name__)


class Marking:
    """Writes a mark for each project with new events. Any number of servers may do so at once."""

    def __init__(self, transactions: Transactions, store: PackStore, executors: Executors) -> None:
        self._transactions = transactions
        self._store = store
        self._executors = executors

    async def run_forever(self, seconds: float = SECONDS) -> None:
        """Marks every few seconds until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self._round()

    async def finish(self) -> None:
        """Marks what is new, when the server stops."""
        try:
            await asyncio.wait_for(self._round(), LAST_SECONDS)
        except TimeoutError:
            log.warning("the last marks of numbers were not written: the store took too long")

    async def _round(self) -> None:
        try:
            await self.mark_due()
        except errors.CommError as error:
            log.warning("marks of numbers were not written and will be: %s", error)
        except Exception:
            log.exception("marks of numbers were not written and will be")

    async def mark_due(self) -> None:
        """Marks all projects with new events. Errors: StoreUnavailable, DatabaseUnavailable, DiskFull."""
        while projects := await self._transactions.read(functools.partial(number_marks.due, limit=_PROJECTS)):
            for project in projects:
                await self._mark(project)
            if len(projects) < _PROJECTS:
                break

    async def _mark(self, project: Due) -> None:
        mark = await self._transactions.read(
            functools.partial(number_marks.make, project_id=project.project_id)
        )
        in_store = functools.partial(asyncio.get_running_loop().run_in_executor, self._executors.store)
        await in_store(self._store.put_mark, *mark.position, mark.encode())
        await self._transactions.write(functools.partial(number_marks.written, position=mark.position))
        if 0 < project.last_marked < mark.position.last_event:
            await in_store(self._store.delete_mark, project.project_id, project.last_marked)
