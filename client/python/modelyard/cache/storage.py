"""Files of the cache: written whole or not at all, and optional.

A cache saves time and transfers. One that is read-only, full, damaged or on a
file system without locks must not fail the work that needs no cache: errors
are reported once and the work goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelyard.host import terminal
from modelyard.host.file_copies import write_at

_reported: set[str] = set()


@contextmanager
def best_effort(folder: Path) -> Iterator[None]:
    """Ends the block at an OSError, which is reported once for each cache folder."""
    try:
        yield
    except OSError as error:
        report(folder, error)


def report(folder: Path, error: Exception) -> None:
    """Warns that a cache folder cannot be used fully; once a process and folder."""
    key = os.fspath(folder)
    if key in _reported:
        return
    _reported.add(key)
    reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
    terminal.termwarn(
        f"the cache in {key} cannot be used fully ({reason}): work goes on without it, and may transfer "
        "or read more than necessary. MODELYARD_CACHE_DIR names another folder"
    )


def write_whole(path: str, write: Callable[[int], bool]) -> bool:
    """Creates a file with what `write` puts into its descriptor, by a rename; nothing when it returns False.

    Errors: OSError.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True, mode=0o700)
    part = f"{path}.{os.getpid()}"
    try:
        with open(part, "wb") as file:
            done = write(file.fileno())
        if done:
            os.replace(part, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)
    return done


def write_bytes(path: str, data: bytes) -> None:
    """Creates a file of these bytes, whole or not at all. Errors: OSError."""

    def write(target: int) -> bool:
        write_at(target, data, 0)
        return True

    write_whole(path, write)
