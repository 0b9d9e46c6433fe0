"""Tunes the C library's allocator for streams of large messages.

By default glibc maps and unmaps memory for every message of 1 MiB, and the
page faults cost more than the transfer itself. Both thresholds have to be set:
either one alone makes it worse than neither.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MMAP_BYTES = 32 << 20  # glibc's largest accepted value on 64-bit machines
_TRIM_BYTES = 256 << 20


@functools.cache
def tune() -> bool:
    """Sets both thresholds for this process, once. False where the C library is not glibc."""
    mallopt = _mallopt()
    return mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)


def tune_server() -> bool:
    """`tune`, and one arena for all threads; before any is started. For processes that are all ours.

    Otherwise each thread keeps what it freed for itself, so that a message that
    goes through several threads is paid for several times.
    """
    return tune() and _mallopt()(_M_ARENA_MAX, 1)


def _mallopt() -> Callable[[int, int], bool]:
    if not sys.platform.startswith("linux"):
        return lambda _option, _value: False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return lambda _option, _value: False
    return lambda option, value: bool(mallopt(option, value))
