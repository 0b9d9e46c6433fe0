"""Tunes the C library's allocator for streams of large messages.

By default glibc maps and unmaps memory for every message of 1 MiB, and the page
faults cost more than the transfer itself. Both thresholds must be set: one alone is
worse than none.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MMAP_BYTES = 32 << 20  # glibc's largest accepted value on 64-bit machines
_TRIM_BYTES = 256 << 20


@functools.cache
def tune() -> bool:
    """Sets both thresholds for this process, once. False where the C library is not glibc."""
    return _mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES) and _mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)


def tune_server() -> bool:
    """As `tune`, and one arena for all threads. Call it before threads are started.

    For processes that run only modelyard. Otherwise each thread keeps its freed memory,
    and a message that passes several threads takes memory in each.
    """
    return tune() and _mallopt(_M_ARENA_MAX, 1)


def give_back() -> bool:
    """Returns free memory to the system, at some milliseconds for 100 MiB; False if there was none."""
    trim = _function("malloc_trim")
    return trim is not None and bool(trim(ctypes.c_size_t(0)))


def _mallopt(option: int, value: int) -> bool:
    mallopt = _function("mallopt")
    return mallopt is not None and bool(mallopt(option, value))


@functools.cache
def _function(name: str) -> Any:
    """A function of glibc; None on other systems."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:  # a program that is linked statically
        return None
