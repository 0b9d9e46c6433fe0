"""Checks free disk space before large writes.

A write that cannot fit is refused before it begins. If the disk fills up during the
write, the same error is raised.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.contract import errors

FULL = {errno.ENOSPC, errno.EDQUOT}
"""The error codes of a full disk or quota."""


def free_bytes(place: Path) -> int | None:
    """Free bytes at `place`, which may not exist yet; None if unknown."""
    for folder in (place, *place.parents):
        try:
            found = os.statvfs(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (AttributeError, OSError):  # not on every system
            return None
        # Some network and virtual file systems report no size.
        return found.f_bavail * found.f_frsize if found.f_blocks else None
    return None


def require(place: Path, needed: int, remedy: str) -> None:
    """Raises LocalDiskFull if the bytes do not fit. `remedy` says what to set."""
    free = free_bytes(place)
    if free is not None and needed > free:
        raise _error(place, needed, free, remedy)


@contextmanager
def explained(place: Path, needed: int, remedy: str) -> Iterator[None]:
    """Turns the OSError of a full disk or quota into LocalDiskFull."""
    try:
        yield
    except errors.LocalDiskFull:
        raise
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _error(place, needed, free_bytes(place), remedy) from error


@contextmanager
def writing(place: Path, needed: int, remedy: str) -> Iterator[None]:
    """Checks the space before, and translates the error of a disk that fills up during, the block."""
    require(place, needed, remedy)
    with explained(place, needed, remedy):
        yield


def copy(source: Path, target: Path, remedy: str) -> Path:
    """Copies a file with its times; a copy that fails is removed. Errors: LocalDiskFull, OSError."""
    try:
        with writing(target, os.path.getsize(source), remedy):
            shutil.copy2(source, target)
    except errors.LocalDiskFull:
        target.unlink(missing_ok=True)
        raise
    return target


def _error(place: Path, needed: int, free: int | None, remedy: str) -> errors.LocalDiskFull:
    left = "it is full" if free is None else f"{free:,} bytes are free"
    return errors.LocalDiskFull(
        f"the disk of {str(place)!r} has no room: {needed:,} bytes are needed, {left}. "
        f"Make room there, or {remedy}",
        str(place),
        needed,
        free,
    )
