"""What changes in runs, read once for all watches.

One query says how far all watched runs have changed: after each write of this
process, and five times a second for those of others. Watches at the same
position share the page that they read there, and the run as they show it. So
nothing is queued for a watch, and a slow watch does not delay others.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.domain.runs import run_changes
from modelyard_server.domain.runs.run_changes import Head, Page, Position, Wanted
from modelyard_server.rpc.dispatch.admission import ActiveCalls
from modelyard_server.rpc.dispatch.transactions import Transactions
from modelyard_server.rpc.wire import watch_messages
from modelyard_server.rpc.wire.watch_messages import Part, Selection, Shown

T = TypeVar("T")
POLL_SECONDS = 0.2
LEAST_PAUSE = 0.02
"""Seconds between two looks, so that a burst of writes makes few messages."""
PAUSE_FOR_EACH = 0.0002
"""The same for each watch."""
KEPT_READINGS = 32
INLINE_BYTES = 64 << 10
"""Bytes of batches from which rows are selected without another thread."""
SHOWN_SECONDS = 1.0
"""Between two readings of a run of which only config or summary changed; more for a large run."""
SHOWN_BYTES_A_SECOND = 256 << 10
log = logging.getLogger(__name__)


class _Key(NamedTuple):
    """What is read: a page or a run, after how many changes of the run."""

    run_id: str
    changes: int
    what: tuple[Any, ...]


class Reading:
    """A page that several watches send, each with its own selection of rows."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._is_small = sum(len(batch.payload) for batch in page.batches) < INLINE_BYTES
        self._parts: dict[Selection, list[Part] | asyncio.Task[list[Part]]] = {}

    async def parts(self, selection: Selection) -> list[Part]:
        """The parts of the page for a selection, made once."""
        found = self._parts.get(selection)
        if found is None:
            if self._is_small:
                found = watch_messages.parts(self.page, selection)
            else:
                # On a thread, since selecting rows of large batches takes long.
                making = asyncio.to_thread(watch_messages.parts, self.page, selection)
                found = asyncio.create_task(making)
            self._parts[selection] = found
        return found if isinstance(found, list) else await asyncio.shield(found)


class _Run:
    """A watched run: who follows it, how far it has changed, and as what it was shown last."""

    def __init__(self) -> None:
        self.followers: set[Follower] = set()
        self.head: Head | None = None
        self.shown: dict[int, tuple[Shown, float]] = {}


class RunFeeds:
    """The watched runs of a process. Use it on the event loop."""

    def __init__(
        self, transactions: Transactions, active_calls: ActiveCalls, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self._transactions = transactions
        self._active_calls = active_calls
        self._poll_seconds = poll_seconds
        self._runs: dict[str, _Run] = {}
        self._readings: dict[_Key, asyncio.Task[Any]] = {}
        self._hurry = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        transactions.on_runs(self._written)
        active_calls.on_stop(self._stop)

    @contextlib.contextmanager
    def follow(self, run_ids: Collection[str]) -> Iterator[Follower]:
        """Yields what is new in these runs; at first all of them are."""
        follower = Follower(run_ids)
        for run_id in run_ids:
            self._runs.setdefault(run_id, _Run()).followers.add(follower)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_forever())
        try:
            yield follower
        finally:
            for run_id in run_ids:
                self._leave(run_id, follower)

    def require_serving(self) -> None:
        """Raises ServerStopping when the server is stopping."""
        if self._active_calls.stopping:
            raise errors.ServerStopping("the server is stopping; watch again from the last positions")

    async def page(self, run_id: str, position: Position, wanted: Wanted, min_step: int) -> Reading:
        """What came in a run after a position, but for batches that end before `min_step`."""
        rule = functools.partial(
            run_changes.page, run_id=run_id, position=position, wanted=wanted, min_step=min_step
        )
        reading: Reading = await self._read(
            run_id, (position, wanted, min_step), lambda session: Reading(rule(session))
        )
        return reading

    async def shown(self, run_id: str, attempt: int, head: Head) -> tuple[Shown, float | None]:
        """An attempt of a run; and when to ask again, by the loop's clock, if it may have changed.

        It is as of `head` at least, but for values of config and summary. Raises NotFound.
        """
        run = self._runs[run_id]
        known = run.shown.get(attempt)
        if known is not None:
            shown, until = known
            if shown.head.changes >= head.changes or attempt < head.attempt:
                return shown, None
            if shown.head.shown == head.shown and asyncio.get_running_loop().time() < until:
                return shown, until
        rule = functools.partial(watch_messages.show, run_id=run_id, attempt=attempt)
        shown = await self._read(run_id, (attempt,), rule)
        pause = max(SHOWN_SECONDS, len(shown.encoded) / SHOWN_BYTES_A_SECOND)
        run.shown[attempt] = shown, asyncio.get_running_loop().time() + pause
        return shown, None

    async def _read(self, run_id: str, what: tuple[Any, ...], rule: Callable[[Session], T]) -> T:
        """The result of a reading rule, shared by all that ask while the run has not changed further."""
        head = self._runs[run_id].head
        key = _Key(run_id, head.changes if head else -1, what)
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = asyncio.create_task(_coroutine(self._transactions, rule))
            reading.add_done_callback(functools.partial(self._forget_failure, key))
            while len(self._readings) > KEPT_READINGS:
                del self._readings[next(iter(self._readings))]
        # The others still wait for it when the client of this watch disconnects.
        found: T = await asyncio.shield(reading)
        return found

    def _forget_failure(self, key: _Key, reading: asyncio.Task[Any]) -> None:
        if (reading.cancelled() or reading.exception() is not None) and self._readings.get(key) is reading:
            del self._readings[key]

    def _leave(self, run_id: str, follower: Follower) -> None:
        run = self._runs[run_id]
        run.followers.discard(follower)
        if not run.followers:
            del self._runs[run_id]
            self._drop_readings(run_id)
        if not self._runs and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _drop_readings(self, run_id: str) -> None:
        for key in [key for key in self._readings if key.run_id == run_id]:
            del self._readings[key]

    def _written(self, run_ids: Collection[str]) -> None:
        if not self._runs.keys().isdisjoint(run_ids):
            self._hurry.set()

    def _stop(self) -> None:
        for run_id, run in self._runs.items():
            for follower in run.followers:
                follower.add(run_id)

    async def _look_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._hurry.wait()
            self._hurry.clear()
            look = functools.partial(run_changes.heads, run_ids=list(self._runs))
            try:
                self._tell(await self._transactions.read(look))
            except errors.CommError as error:
                log.warning("looking for changes of runs failed, watches are delayed: %s", error)
            except Exception:
                log.exception("looking for changes of runs failed; trying again")
            watches = {follower for run in self._runs.values() for follower in run.followers}
            await asyncio.sleep(LEAST_PAUSE + len(watches) * PAUSE_FOR_EACH)

    def _tell(self, heads: Any) -> None:
        for run_id, head in heads.items():
            run = self._runs.get(run_id)
            if run is not None and run.head != head:
                run.head = head
                self._drop_readings(run_id)
                for follower in run.followers:
                    follower.add(run_id)


class Follower:
    """The runs with news that one watch has not taken yet."""

    def __init__(self, run_ids: Collection[str]) -> None:
        self._ahead = dict.fromkeys(run_ids)
        self._news = asyncio.Event()
        self._news.set()

    def add(self, run_id: str) -> None:
        """Ends the wait, for news of a run."""
        self._ahead[run_id] = None
        self._news.set()

    async def wait(self, until: float) -> list[str]:
        """Takes the runs with news as soon as there are any, and none at `until` of the loop's clock."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._news.wait()
        self._news.clear()
        ahead, self._ahead = list(self._ahead), {}
        return ahead


async def _coroutine(transactions: Transactions, rule: Callable[[Session], T]) -> T:
    return await transactions.read(rule)
