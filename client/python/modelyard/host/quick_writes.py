"""Writes to files that keep the interpreter's lock.

`os.write` releases it. Where another Python thread is busy, the caller gets it back
after that thread's switch interval only, 5 ms by default: too long for a call in each
training step. A write of some hundred bytes into the page cache takes a microsecond.
"""

from __future__ import annotations

import os
from collections.abc import Callable


def writer() -> Callable[[int, bytes], None]:
    """A function that appends all of some bytes to an open file. It raises OSError.

    `os.write` takes its place on systems whose C library cannot be called.
    """
    try:
        import ctypes  # imported when first needed: `import modelyard` stays fast

        write = ctypes.PyDLL(None).write
        write.argtypes, write.restype = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t], ctypes.c_ssize_t
    except (ImportError, OSError, AttributeError, TypeError):
        return write_all

    def write_keeping_lock(file: int, data: bytes) -> None:
        count = write(file, data, len(data))
        if count != len(data):  # interrupted, or an error: the next write says which
            write_all(file, data[max(count, 0) :])

    return write_keeping_lock


def write_all(file: int, data: bytes) -> None:
    """Appends all of the data to an open file by `os.write`. Errors: OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
