"""Redirects the standard streams of this process, so that the output of its libraries and children is kept.

File descriptors 1 and 2 become a pipe, or a terminal where they were one. A process of
its own copies what is written there to where it went before: see `console_relay`. A
thread of this process could not, since compiled code may write while it holds the
interpreter's lock, and since children may write after this process has ended.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.capture import console_relay, console_streams
from modelyard.host import forking, terminal, waiting

ANSWER_SECONDS = 5.0
"""How long a request waits for the relay, which waits where a terminal is stopped."""
_FLUSH_SECONDS = 1.0
_PIPE_BYTES = 1 << 20

_redirecting = False
"""Whether a run of this process has redirected its streams."""


class _Stream(NamedTuple):
    name: str
    number: int
    saved: int
    """Where the stream went before."""
    source: int
    """Kept open here, so that nobody who writes gets an error if the relay ends."""
    sink: tuple[int, int]
    """Device and inode of what the number was set to."""


class Redirection:
    """The redirected streams of a process, for one run at a time.

    `lost` is called, from a thread, if the relay ends early, just before the streams are given back.
    """

    def __init__(self, folder: Path, label: str, lost: Callable[[], None]) -> None:
        """`folder`: where spools are made; `label`: the process among those of its run."""
        self._folder = folder
        self._label = label
        self._lost = lost
        self._streams: list[_Stream] = []
        self._control: socket.socket | None = None
        self._answers: list[bytes] = []
        self._answered = threading.Condition()
        self._ending = False
        self._pid = os.getpid()
        forking.inherit(self)

    @property
    def heard(self) -> frozenset[str]:
        """The streams of Python that write to redirected ones."""
        return frozenset(one.name for one in self._streams if _number_of(one.name) == one.number)

    def start(self) -> bool:
        """Redirects; False, with a warning, where that is not possible."""
        global _redirecting
        if _redirecting:
            terminal.termwarn(
                "the streams are redirected for another run already: of this one, "
                "what Python writes is kept", repeat=False,
            )  # fmt: skip
            return False
        try:
            self._redirect()
        except (OSError, AttributeError, ImportError) as error:  # systems without ttys or such sockets
            self._close()
            terminal.termwarn(
                f"the streams cannot be redirected: {error}. What Python writes is kept", repeat=False
            )
            return False
        _redirecting = True
        return True

    def flush(self) -> None:
        """Has the lines so far written to the spool."""
        self._ask(console_relay.FLUSH)

    def stop(self) -> None:
        """Gives the streams back, and returns when their last lines are in the spool, or after some seconds.

        Children that still have the redirected streams go on writing to them.
        """
        global _redirecting
        if os.getpid() != self._pid or self._control is None or self._ending:
            return
        self._ending = True
        # By a thread: what a signal handler has interrupted may hold the lock of a stream.
        flush = threading.Thread(target=_flush_streams, name="modelyard-flush", daemon=True)
        flush.start()
        waiting.join(flush, _FLUSH_SECONDS)
        self._restore()
        kept = self._ask(console_relay.END)
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # ends the thread, which closes it
        self._control = None
        self._close()
        _redirecting = False
        if kept == console_relay.LOST:
            terminal.termwarn("lines of the console were not kept", repeat=False)

    def forget_parent(self) -> None:
        """In a forked child, which writes to the redirected streams: they are its parent's to give back."""
        global _redirecting
        _redirecting = False
        self._close()

    def _redirect(self) -> None:
        for number in range(3):  # a closed one's number would be given to one of the descriptors below
            os.fstat(number)
        sinks = {}
        try:
            for number, name in enumerate(console_streams.NAMES, start=1):
                saved = os.dup(number)
                source, sinks[number] = _like(saved)
                self._streams.append(_Stream(name, number, saved, source, _identity(sinks[number])))
            self._start_relay(self._folder)
            _flush_streams()
            for number, sink in sinks.items():
                os.dup2(sink, number)
        finally:
            for sink in sinks.values():
                os.close(sink)

    def _start_relay(self, folder: Path | None) -> None:
        """Starts the process; without a folder it copies only."""
        self._control, theirs = socket.socketpair()
        with theirs:
            options = {
                "streams": [(one.name, one.source, one.saved) for one in self._streams],
                "control": theirs.fileno(),
                "parent": os.getpid(),
                "folder": None if folder is None else str(folder.absolute()),
                "label": self._label,
                "search_path": _search_path(),
            }
            descriptors = [number for one in self._streams for number in (one.source, one.saved)]
            # -I, -S: nothing of the working directory and no site packages until it copies.
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", console_relay.__file__, json.dumps(options)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[*descriptors, theirs.fileno()],
                cwd="/",
                start_new_session=True,  # Ctrl-C and the end of a terminal are for the programs that write
            )
        watch = threading.Thread(
            target=self._watch, args=(process, self._control), name="modelyard-relay", daemon=True
        )
        watch.start()

    def _watch(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        """Takes the answers of the relay until it ends."""
        answer = None
        while answer != b"":
            answer = b""
            with suppress(OSError):
                answer = control.recv(1)
            with self._answered:
                self._answers.append(answer)
                self._answered.notify_all()
        control.close()
        if not self._ending and os.getpid() == self._pid:
            self._replace_relay()
        process.wait()

    def _replace_relay(self) -> None:
        """Ends the redirection after the relay has ended early.

        A new relay starts first: a write to the full pipe would otherwise block this process.
        """
        global _redirecting
        self._ending = True
        with suppress(OSError):
            self._start_relay(None)
        self._lost()
        self._restore()
        _redirecting = False

    def _restore(self) -> None:
        for one in self._streams:
            with suppress(OSError):
                if _identity(one.number) == one.sink:  # else the program has redirected it since
                    os.dup2(one.saved, one.number)

    def _ask(self, request: bytes) -> bytes:
        """Sends a request and returns its answer; empty where there is none in time."""
        if self._control is None:
            return b""
        with self._answered:
            self._answers.clear()
            with suppress(OSError):
                self._control.send(request)
                waiting.until(
                    lambda step: self._answered.wait_for(lambda: self._answers, step), ANSWER_SECONDS
                )
            return self._answers[0] if self._answers else b""

    def _close(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            with suppress(OSError):
                control.close()
        streams, self._streams = self._streams, []
        for one in streams:
            for number in (one.saved, one.source):
                with suppress(OSError):
                    os.close(number)


def _like(stream: int) -> tuple[int, int]:
    """The two ends of a terminal like the one of `stream`, or of a pipe where that is none."""
    if not os.isatty(stream):
        source, sink = os.pipe()
        with suppress(ImportError, AttributeError, OSError):
            import fcntl  # not on every system

            fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return source, sink
    import termios  # not on every system

    source, sink = os.openpty()
    with suppress(termios.error):
        attributes = termios.tcgetattr(stream)
        attributes[1] &= ~termios.OPOST  # the real terminal does that
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(sink, termios.TCSANOW, attributes)
        termios.tcsetwinsize(sink, termios.tcgetwinsize(stream))
    return source, sink


def _identity(number: int) -> tuple[int, int]:
    status = os.fstat(number)
    return status.st_dev, status.st_ino


def _number_of(name: str) -> int | None:
    """The descriptor that a stream of Python writes to."""
    with suppress(AttributeError, OSError, ValueError):
        return int(getattr(sys, name).fileno())
    return None


def _flush_streams() -> None:
    for name in console_streams.NAMES:
        with suppress(Exception):  # a closed stream, or one of a tool
            getattr(sys, name).flush()
    with suppress(Exception):
        import ctypes  # imported when first needed: `import modelyard` stays fast

        library: Any = ctypes.CDLL(None)
        library.fflush(ctypes.c_void_p.in_dll(library, "stdout"))


def _search_path() -> Sequence[str]:
    """Where the relay finds modelyard and what it imports."""
    return [path for path in sys.path if os.path.isabs(path)]
