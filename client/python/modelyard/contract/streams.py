"""Standard streams of the commands of both sides, which end alike: `modelyard …` and `modelyard server …`.

A stream that is closed, missing or limited to fewer characters does not fail
the work: characters that it cannot encode become `?`, and a closed or missing
stream takes nothing. A pipe that nobody reads ends a command with exit code
141, as SIGPIPE ends other tools.
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
    """Standard output is a pipe whose reader has gone: the command can end."""


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
    """Prints a line on standard output; does nothing where that fails."""
    try:
        echo(text)
    except (OSError, OutputClosed):
        return


def write(stream: Any, text: str) -> None:
    """Writes and flushes; does nothing when the stream is None or closed. Errors: OSError."""
    if stream is None:
        return
    try:
        stream.write(fitting(text, stream))
        flush = getattr(stream, "flush", None)  # a program's own stream may have none
        if flush is not None:
            flush()
    except OSError as error:
        if error.errno not in _CLOSED:
            raise
    except ValueError:  # closed
        return


def fitting(text: str, stream: Any) -> str:
    """The text with `?` for each character that the stream cannot encode."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    # Undecodable bytes of file names are written unchanged where the stream allows it.
    errors = "surrogateescape" if getattr(stream, "errors", "") == "surrogateescape" else "strict"
    try:
        text.encode(encoding, errors)
    except UnicodeEncodeError:
        return text.encode(encoding, "replace").decode(encoding)
    except (LookupError, TypeError):  # a program's own stream, with an unknown encoding
        return text.encode("ascii", "replace").decode()
    return text


def run_process(command: Callable[[], int | None]) -> NoReturn:
    """Opens missing standard streams, runs a command and ends the process with its exit code."""
    _open_streams()
    try:
        code = command()
    except OutputClosed:
        code = EXIT_PIPE
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        # The interpreter flushes once more at its end and would report the error.
        _redirect_to_null(sys.stdout)
    sys.exit(code)


def _open_streams() -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Otherwise the next file that is opened, such as a database, would become a standard stream.
            os.open(os.devnull, os.O_RDWR)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # for the whole process
        elif mode == "w" and stream.errors != "surrogateescape" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # for what libraries print


def _redirect_to_null(stream: Any) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
