"""Locks on files, which end with their process."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from modelyard.host import forking


class FileLock:
    """An exclusive lock on a file, held until `release` or the end of this process.

    Forked children do not hold it. On file systems without locks every process
    gets it, and it is not `exclusive`.
    """

    def __init__(self, descriptor: int, *, exclusive: bool) -> None:
        self.exclusive = exclusive
        self._descriptor: int | None = descriptor
        forking.inherit(self)

    @classmethod
    def take(cls, path: Path) -> FileLock | None:
        """Locks a file, which is made where it is missing; None while another process holds it.

        Errors: OSError where the file cannot be opened.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            import fcntl  # not on every system

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except (ImportError, OSError):
            return cls(descriptor, exclusive=False)
        return cls(descriptor, exclusive=True)

    def release(self) -> None:
        """Gives the lock up."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def forget_parent(self) -> None:
        """In a forked child: closes its copy of the file, which leaves the parent's lock."""
        self.release()


def is_held(path: Path) -> bool:
    """Whether a process may hold the lock of a file; False where there is no such file."""
    if not path.exists():
        return False
    try:
        taken = FileLock.take(path)
    except OSError:  # of another user, for example
        return True
    if taken is None:
        return True
    taken.release()
    return not taken.exclusive
