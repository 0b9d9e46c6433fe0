"""Runs a program without file locks, as on some network file systems.

`python -m tests.parts.system.without_locks SCRIPT` runs a script in which flock(2)
and the locks of fcntl(2) fail with ENOLCK. The filter (seccomp) stays for the
life of the process and for those that it starts.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import runpy
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_FLOCK, _FCNTL = 73, 72  # x86-64
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000 | errno.ENOLCK
_NUMBER_AT, _SECOND_ARGUMENT_AT = 0, 24


def _program() -> bytes:
    """flock → fail; fcntl with F_SETLK or F_SETLKW → fail; all else is allowed."""
    steps = [
        (_LOAD, 0, 0, _NUMBER_AT),
        (_EQUAL, 5, 0, _FLOCK),
        (_EQUAL, 0, 3, _FCNTL),
        (_LOAD, 0, 0, _SECOND_ARGUMENT_AT),
        (_EQUAL, 2, 0, fcntl.F_SETLK),
        (_EQUAL, 1, 0, fcntl.F_SETLKW),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _FAIL),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def disable_locks() -> None:
    """From this process and all that it starts."""
    code = ctypes.create_string_buffer(_program())
    filter_ = struct.pack("HxxxxxxP", len(_program()) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _MODE_FILTER, filter_, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the filter was refused")


if __name__ == "__main__":
    disable_locks()
    runpy.run_path(sys.argv[1], run_name="__main__")
