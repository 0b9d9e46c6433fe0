"""How many calls are being served, and whether new ones are taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelyard.contract import errors


class Activity:
    """Counts calls, health and reflection excepted. Used on the event loop only."""

    def __init__(self) -> None:
        self.active = 0
        self.stopping = False
        self._quiet_since = time.monotonic()
        self._when_stopping: list[Callable[[], None]] = []

    def when_stopping(self, act: Callable[[], None]) -> None:
        """Has `act` called as soon as no new calls are taken."""
        self._when_stopping.append(act)

    def stop(self) -> None:
        """Takes no new calls from now on."""
        self.stopping = True
        for act in self._when_stopping:
            act()

    def require_serving(self) -> None:
        """Raises ServerStopping after `stop`."""
        if self.stopping:
            raise errors.ServerStopping("the server is stopping; repeat the call")

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around each call. Raises ServerStopping after `stop`."""
        self.require_serving()
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self._quiet_since = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last call ended; 0 while one runs."""
        return 0.0 if self.active else time.monotonic() - self._quiet_since
