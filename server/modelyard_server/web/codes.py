"""Codes that open the page once: given to the folder's owner, who puts one into an address."""

from __future__ import annotations

import hmac
import secrets
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
        self._until: dict[str, float] = {}

    def make(self) -> str:
        """A new code, for URLs as it is."""
        while len(self._until) >= MOST:
            self._until.pop(next(iter(self._until)), None)
        code = secrets.token_urlsafe(_BYTES)
        self._until[code] = self._clock() + SECONDS
        return code

    def take(self, code: str) -> bool:
        """Whether a code can be used; from now on it cannot."""
        found = [known for known in list(self._until) if hmac.compare_digest(known.encode(), code.encode())]
        return any(self._until.pop(known, -1.0) >= self._clock() for known in found)
