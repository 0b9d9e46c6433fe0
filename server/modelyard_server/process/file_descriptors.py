"""The limit of file descriptors, and how many of them connections may use.

A server that is out of descriptors cannot open its database or its store, so
some are reserved.
"""

from __future__ import annotations

import contextlib
import logging
import sys

RESERVED = 512
"""Descriptors kept for the database, the store and threads; half of all where there are fewer than 1,024."""
MOST_CONNECTIONS = 16_384
"""Most connections of a process, whatever the limit of descriptors: each needs memory too."""
_UNKNOWN = 1_024
log = logging.getLogger(__name__)


def raise_limit() -> None:
    """Raises the soft limit of descriptors to the hard limit."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems report a hard limit that they do not accept.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections() -> int:
    """How many connections this process may hold under its current limit."""
    limit = _limit()
    most = min(MOST_CONNECTIONS, max(limit - RESERVED, limit // 2))
    log.info("at most %s connections at once, of %s file descriptors", most, limit)
    return most


def _limit() -> int:
    if sys.platform == "win32":
        return _UNKNOWN
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS + RESERVED if soft == resource.RLIM_INFINITY else soft
