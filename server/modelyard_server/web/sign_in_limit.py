"""How often an address may fail to sign in: a token bucket for each, and a limit on their number."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

FAILURES = 10
"""That an address may have at once."""
SECONDS = 6.0
"""Until an address may fail once more."""
ADDRESSES = 10_000
"""Whose failures are remembered; beyond it the oldest are forgotten."""
_NETWORK_BITS = 64
"""Of an IPv6 address: one user has all addresses of such a network."""


class SignInLimit:
    """Counts attempts to sign in by the address that they come from."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """When the bucket of an address is full again."""

    def wait_seconds(self, address: str) -> float:
        """Takes one attempt; 0, or how long to wait before the next one."""
        key, now = _network(address), self._clock()
        full_at = max(self._full_at.pop(key, now), now) + SECONDS
        allowed = full_at <= now + FAILURES * SECONDS
        self._full_at[key] = full_at if allowed else full_at - SECONDS
        while len(self._full_at) > ADDRESSES:
            self._full_at.popitem(last=False)
        return 0.0 if allowed else full_at - FAILURES * SECONDS - now

    def give_back(self, address: str) -> None:
        """Gives an attempt back: it succeeded."""
        key = _network(address)
        if key in self._full_at:
            self._full_at[key] -= SECONDS


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if found.version == 6:
        return str(ipaddress.ip_network((int(found), _NETWORK_BITS), strict=False))
    return str(found)
