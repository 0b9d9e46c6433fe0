"""Copies between open files: clones that share their blocks (reflinks), and writes at an offset."""

from __future__ import annotations

import os

_FICLONE = 0x40049409  # Linux: share the blocks of a file until either side changes


def clone(source: int, target: int) -> bool:
    """Clones the file `source` into the empty `target`, both open; False where that is not supported."""
    try:
        import fcntl  # not on every system

        fcntl.ioctl(target, _FICLONE, source)
    except (ImportError, OSError):
        return False
    return True


def can_clone(folder: int) -> bool:
    """Whether the file system of an open folder supports clones."""
    descriptors: list[int] = []
    try:
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        descriptors.append(os.open(".", flags, 0o600, dir_fd=folder))
        descriptors.append(os.open(".", flags, 0o600, dir_fd=folder))
        return clone(*descriptors)
    except (AttributeError, OSError):  # O_TMPFILE is Linux's, and not all of its file systems have it
        return False
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def write_at(file: int, data: bytes | memoryview, offset: int) -> None:
    """Writes all of the data at an offset. Errors: OSError."""
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, offset)
        view = view[count:]
        offset += count
