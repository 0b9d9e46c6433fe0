"""Codes that open the page once, at a view: given to the folder's owner, who puts one into an address."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable

SECONDS = 60.0
"""How long a code can be used."""
MOST = 100
"""Codes that wait; a further one replaces the oldest."""
_BYTES = 32


class Codes:
    """The codes that were made and not used. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, tuple[float, str]] = {}

    def make(self, path: str) -> str:
        """A new code, for URLs as it is, that leads to a path of the page."""
        code = secrets.token_urlsafe(_BYTES)
        with self._lock:
            while len(self._until) >= MOST:
                del self._until[next(iter(self._until))]
            self._until[code] = (self._clock() + SECONDS, path)
        return code

    def take(self, code: str) -> str | None:
        """The path that a code leads to; None if it cannot be used. From now on it cannot."""
        with self._lock:
            known = [one for one in self._until if hmac.compare_digest(one.encode(), code.encode())]
            taken = [self._until.pop(one) for one in known]
            return next((path for until, path in taken if until >= self._clock()), None)
