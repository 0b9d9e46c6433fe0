"""Tunes the C library's allocator for streams of large messages.

By default glibc maps and unmaps memory for every message of 1 MiB, and the
page faults cost more than the transfer itself. Both thresholds have to be set:
either one alone makes it worse than neither.
"""

from __future__ import annotations

import ctypes
import functools
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MMAP_BYTES = 32 << 20  # glibc's largest accepted value on 64-bit machines
_TRIM_BYTES = 256 << 20


@functools.cache
def tune() -> bool:
    """Sets both thresholds for this process, once. False where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES))
