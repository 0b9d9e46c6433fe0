"""Writes to the standard streams: what is closed, missing or too narrow for a text does not end the work.

The SDK's lines, the commands and the server print through here. Characters that
a stream cannot take become `?`. A closed or missing stream takes nothing. A pipe
that nobody reads ends a command quietly with exit code 141, as SIGPIPE ends
other tools.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

EXIT_PIPE = 141
_CLOSED = {errno.EBADF, errno.EIO}
_NO_READER = {errno.EPIPE, errno.ESHUTDOWN}


class OutputClosed(Exception):
    """Nobody reads standard output any more: a command need not go on."""


def echo(text: object = "", *, err: bool = False) -> None:
    """Prints a line on standard output, or with `err` on standard error.

    Errors, of standard output alone: OutputClosed, OSError such as for a full disk.
    """
    try:
        write(sys.stderr if err else sys.stdout, f"{text}\n")
    except OSError as error:
        if err:
            return
        if error.errno in _NO_READER:
            raise OutputClosed from None
        raise


def say(text: str) -> None:
    """Prints a line on standard output if that is possible, for those who go on either way."""
    try:
        echo(text)
    except (OSError, OutputClosed):
        return


def write(stream: Any, text: str) -> None:
    """Writes to a stream at once; nothing where there is none, or it is closed. Errors: OSError."""
    if stream is None:
        return
    try:
        stream.write(fitting(text, stream))
        flush = getattr(stream, "flush", None)  # streams of somebody's own may have none
        if flush is not None:
            flush()
    except OSError as error:
        if error.errno not in _CLOSED:
            raise
    except ValueError:  # closed
        return


def fitting(text: str, stream: Any) -> str:
    """The text with `?` for each character that the stream cannot take."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    # Bytes of file names that are no UTF-8 go out as they came where the stream says so.
    errors = "surrogateescape" if getattr(stream, "errors", "") == "surrogateescape" else "strict"
    try:
        text.encode(encoding, errors)
    except UnicodeEncodeError:
        return text.encode(encoding, "replace").decode(encoding)
    except (LookupError, TypeError):  # a stream of somebody's own, with an encoding that is none
        return text.encode("ascii", "replace").decode()
    return text


def is_terminal(stream: Any) -> bool:
    """Whether a stream is there, open, and a terminal."""
    try:
        return stream is not None and bool(stream.isatty())
    except (OSError, ValueError, AttributeError):
        return False


class Tolerant:
    """A stream for libraries that write themselves: what it cannot write is dropped."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes what is possible."""
        try:
            write(self._stream, text)
        except OSError:
            pass
        return len(text)

    def flush(self) -> None:
        """Nothing is left to write."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def run_process(command: Callable[[], int | None]) -> NoReturn:
    """Runs a command with streams that can be used and ends the process with its exit code."""
    _open_streams()
    try:
        code = command()
    except OutputClosed:
        code = EXIT_PIPE
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        # Python flushes once more at its end, and would complain.
        _point_at_nothing(sys.stdout)
    sys.exit(code)


def _open_streams() -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened, perhaps a database, would be taken for a standard stream.
            os.open(os.devnull, os.O_RDWR)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # for the whole process
        elif mode == "w" and stream.errors != "surrogateescape" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # for what libraries print


def _point_at_nothing(stream: Any) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
