"""Optional work on the local cache: when it fails, that is told once, and the rest goes on without it.

A cache spares time and transfers. One that is read-only, full, damaged or on a
file system without locks must not fail the work that would do without any cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.host import terminal

_told: set[str] = set()


@contextmanager
def best_effort(folder: Path) -> Iterator[None]:
    """Ends the block at an OSError, which is told once for each cache folder."""
    try:
        yield
    except OSError as error:
        tell(folder, error)


def tell(folder: Path, error: Exception) -> None:
    """Warns that a cache folder cannot be used as it should; once a process and folder."""
    key = os.fspath(folder)
    if key in _told:
        return
    _told.add(key)
    reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
    terminal.termwarn(
        f"the cache in {key} cannot be used fully ({reason}): work goes on without it, and may transfer "
        "or read more than it has to. MODELYARD_CACHE_DIR names another folder"
    )
