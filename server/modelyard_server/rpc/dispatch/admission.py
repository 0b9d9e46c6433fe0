"""How many calls a process serves at once, and whether it takes new ones.

gRPC ends a call that it cannot queue with a bare CANCELLED. Its queue is made
long enough (`process/serving.py`) that calls reach these limits first, where
they are refused with a reason that clients retry on.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from modelyard.contract import errors

MOST_CALLS = 2_000
"""Calls at once, counted from their metadata to their status. Calls without a key are refused quickly."""
QUIET_SECONDS = 0.1
"""How long no call may have arrived before a server that stops closes its connections."""
QUIET_WAIT_SECONDS = 2.0
"""The longest that it waits for that."""
MOST_OPEN_CALLS = 500
"""The same for health and reflection, which need no key."""


class CallLimit:
    """A limit on calls at once. Use it on the event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def enter(self) -> None:
        """Counts the call of the current task until the task ends. Raises RateLimited at the limit."""
        if self.held >= self.most:
            raise errors.RateLimited(f"the server holds {self.most:,} calls at once; repeat the call")
        task = asyncio.current_task()
        assert task is not None
        self.held += 1
        # Bound to the task and not to a handler: when a client disconnects before its request has
        # arrived, no handler runs.
        task.add_done_callback(self._leave)

    def _leave(self, _task: asyncio.Task[Any]) -> None:
        self.held -= 1


class ActiveCalls:
    """Counts the calls being served, except health and reflection, and refuses new ones while draining.

    Use it on the event loop.
    """

    def __init__(self) -> None:
        self.count = 0
        self.stopping = False
        self._idle_since = time.monotonic()
        self._last_arrival = -math.inf
        self._on_stop: list[Callable[[], None]] = []

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Registers a callback for the moment when no new calls are taken."""
        self._on_stop.append(callback)

    def stop(self) -> None:
        """Refuses new calls from now on."""
        self.stopping = True
        for callback in self._on_stop:
            callback()

    async def quiet(self) -> None:
        """Returns once no call has arrived for 0.1 s, or after 2 s.

        When gRPC stops, it ends calls that have arrived and that it has not handed over yet with
        a bare CANCELLED, of which plain clients do not know that it may be repeated. Those that
        arrive before are refused with a reason, and their clients wait before they call again.
        """
        end = time.monotonic() + QUIET_WAIT_SECONDS
        while (now := time.monotonic()) < min(end, self._last_arrival + QUIET_SECONDS):
            await asyncio.sleep(min(end, self._last_arrival + QUIET_SECONDS) - now)

    def require_serving(self) -> None:
        """Notes that a call arrives. Raises ServerStopping after `stop`."""
        self._last_arrival = time.monotonic()
        if self.stopping:
            raise errors.ServerStopping("the server is stopping; repeat the call")

    @contextmanager
    def call(self) -> Iterator[None]:
        """Counts one call. Raises ServerStopping after `stop`."""
        self.require_serving()
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
            self._idle_since = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last call ended; 0 during a call."""
        return 0.0 if self.count else time.monotonic() - self._idle_since
