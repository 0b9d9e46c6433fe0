"""How many calls are being served, and whether new ones are taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from modelyard import errors


class Activity:
    """Counts calls, health and reflection excepted. Used on the event loop only."""

    def __init__(self) -> None:
        self.active = 0
        self.stopping = False
        self._quiet_since = time.monotonic()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around each call. Raises ServerStopping once `stopping` is set."""
        if self.stopping:
            raise errors.ServerStopping("the server is stopping; repeat the call")
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
