"""Signals that a project, or some project of an entity, may have new events.

A signal carries no events: whoever waits for it reads the table. Writes of this
process set it at once. Those of other replicas are found by polling, with one
small query for all watched projects; whoever waits for an entity polls by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import TypeVar

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.domain import event_heads
from modelyard_server.rpc.dispatch.admission import ActiveCalls
from modelyard_server.rpc.dispatch.transactions import Transactions

T = TypeVar("T")
POLL_SECONDS = 0.2
log = logging.getLogger(__name__)


class EntitySignal:
    """A signal that projects of an entity may have new events. Use it on the event loop."""

    def __init__(self) -> None:
        self._set = asyncio.Event()
        self._projects: set[int] = set()

    def notify(self, project_ids: Collection[int] = ()) -> None:
        """Ends the wait, for projects that this process wrote to, or for none."""
        self._projects.update(project_ids)
        self._set.set()

    async def wait(self, seconds: float) -> set[int]:
        """Waits for a signal, or some seconds. Returns the projects written to since the last wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._set.wait()
        self._set.clear()
        projects, self._projects = self._projects, set()
        return projects


class EventSignals:
    """The signals of a process, by project and by entity. Use it on the event loop."""

    def __init__(self, transactions: Transactions, active_calls: ActiveCalls) -> None:
        self._transactions = transactions
        self._active_calls = active_calls
        self._signals: dict[int, set[asyncio.Event]] = {}
        self._entities: dict[str, set[EntitySignal]] = {}
        self._entity_of: dict[int, str] = {}  # while an entity is watched, of projects written to
        self._unplaced: set[int] = set()
        self._placing: asyncio.Task[None] | None = None
        self._last: dict[int, int] = {}
        self._poller: asyncio.Task[None] | None = None
        transactions.on_events(self._wake)
        active_calls.on_stop(self._stop)

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

    @contextlib.contextmanager
    def entity(self, name: str) -> Iterator[EntitySignal]:
        """Yields a signal that is set by events that this process wrote, and when the server stops.

        Events of other entities do not set it. The entity need not exist.
        """
        signal = EntitySignal()
        self._entities.setdefault(name, set()).add(signal)
        try:
            yield signal
        finally:
            signals = self._entities[name]
            signals.remove(signal)
            if not signals:
                del self._entities[name]
            if not self._entities:
                self._entity_of.clear()

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

    def _wake(self, project_ids: Collection[int]) -> None:
        for project_id in project_ids:
            for signal in self._signals.get(project_id, ()):
                signal.set()
        if self._entities:
            self._wake_entities(project_ids)

    def _wake_entities(self, project_ids: Collection[int]) -> None:
        unplaced = {project_id for project_id in project_ids if project_id not in self._entity_of}
        for project_id in project_ids:
            for signal in self._entities.get(self._entity_of.get(project_id, ""), ()):
                signal.notify([project_id])
        if unplaced:
            self._unplaced |= unplaced
            if self._placing is None:
                self._placing = asyncio.create_task(self._place())

    async def _place(self) -> None:
        """Finds the entities of projects that were written to for the first time, and sets their signals."""
        try:
            while self._unplaced:
                projects, self._unplaced = self._unplaced, set()
                found = await self.read(functools.partial(event_heads.entities, project_ids=projects))
                self._entity_of |= found
                self._wake_entities(found)
        except Exception as error:
            # Watches of an entity also poll, so these events arrive later and are not lost.
            log.warning("finding the entities of new events failed, they are delayed: %s", error)
        finally:
            self._placing = None

    def _stop(self) -> None:
        for signals in self._signals.values():
            for signal in signals:
                signal.set()
        for waiting in self._entities.values():
            for entity in waiting:
                entity.notify()

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
            look = functools.partial(event_heads.last_sequences, project_ids=list(self._signals))
            try:
                last = await self._transactions.read(look)
            except errors.CommError as error:
                log.warning("polling for events failed, events of other servers are delayed: %s", error)
                continue
            except Exception:
                log.exception("polling for events failed; trying again")
                continue
            self._wake([project for project, sequence in last.items() if self._last.get(project) != sequence])
            self._last = {project: sequence for project, sequence in last.items() if project in self._signals}
