"""Signals that a project may have new events.

A signal carries no events: the feed that waits for it reads the table. Writes
of this process set it at once; those of other replicas are found by polling,
with one small query for all watched projects.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.domain import events
from modelyard_server.rpc.dispatch.admission import ActiveCalls
from modelyard_server.rpc.dispatch.transactions import Transactions

T = TypeVar("T")
POLL_SECONDS = 0.2
log = logging.getLogger(__name__)


class EventSignals:
    """The signals of a process, by project. Use it on the event loop."""

    def __init__(self, transactions: Transactions, active_calls: ActiveCalls) -> None:
        self._transactions = transactions
        self._active_calls = active_calls
        self._signals: dict[int, set[asyncio.Event]] = {}
        self._any: set[asyncio.Event] = set()
        self._last: dict[int, int] = {}
        self._poller: asyncio.Task[None] | None = None
        transactions.on_events(self._wake)
        active_calls.on_stop(lambda: self._wake([0, *self._signals]))

    @contextlib.contextmanager
    def project(self, project_id: int) -> Iterator[asyncio.Event]:
        """Yields a signal that is set when the project may have new events, and when the server stops.

        Clear it before reading the table: later commits set it again.
        """
        signal = asyncio.Event()
        self._signals.setdefault(project_id, set()).add(signal)
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll())
        try:
            yield signal
        finally:
            self._forget(project_id, signal)

    async def any_project(self, seconds: float) -> None:
        """Returns after an event that this process wrote, when the server stops, or after some seconds."""
        signal = asyncio.Event()
        self._any.add(signal)
        try:
            async with asyncio.timeout(seconds):
                await signal.wait()
        except TimeoutError:
            pass
        finally:
            self._any.remove(signal)

    def read(self, rule: Callable[[Session], T]) -> Awaitable[T]:
        """Runs the rule in a reading transaction."""
        return self._transactions.read(rule)

    @property
    def stopping(self) -> bool:
        """Whether the server is stopping."""
        return self._active_calls.stopping

    def require_serving(self) -> None:
        """Raises ServerStopping when the server is stopping."""
        if self.stopping:
            raise errors.ServerStopping("the server is stopping; watch again from the last sequence")

    def _wake(self, project_ids: Iterable[int]) -> None:
        for project_id in project_ids:
            for signal in (*self._signals.get(project_id, ()), *self._any):
                signal.set()

    def _forget(self, project_id: int, signal: asyncio.Event) -> None:
        signals = self._signals[project_id]
        signals.remove(signal)
        if not signals:
            del self._signals[project_id]
            self._last.pop(project_id, None)
        if not self._signals and self._poller is not None:
            self._poller.cancel()
            self._poller = None

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            look = functools.partial(events.last_sequences, project_ids=list(self._signals))
            try:
                last = await self._transactions.read(look)
            except errors.CommError as error:
                log.warning("polling for events failed, events of other servers are delayed: %s", error)
                continue
            except Exception:
                log.exception("polling for events failed; trying again")
                continue
            self._wake(project for project, sequence in last.items() if self._last.get(project) != sequence)
            self._last = {project: sequence for project, sequence in last.items() if project in self._signals}
