"""Ends the active runs when the process ends or gets a signal.

A signal that ends the process would lose the rows of the last second and leave the
runs `running`. The handler sends them, for a few seconds at most, marks the runs as
killed, and then lets the signal take its effect.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import Any, Protocol

from modelyard.host import exit_status, terminal

SIGNAL_SECONDS = 5.0
"""Time in which a run has to end after a signal. Containers are killed 10 s after SIGTERM."""
_BUSY_SECONDS = 0.05
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(Protocol):
    """What the exit handlers need of a run."""

    path: Any

    def finish(self, exit_code: int | None = None) -> None:
        """Ends it."""

    def _kill(self, exit_code: int) -> None:
        """Ends it in state `killed`."""

    def _send_now(self) -> None:
        """Sends the rows that were logged."""

    def _is_being_logged_to(self) -> bool:
        """Whether the current thread is changing its rows."""


class Ending:
    """Ends the active runs when the process ends. There is one instance in a process."""

    def __init__(self, active: Callable[[], Sequence[Ended]]) -> None:
        self._active = active
        self._installed = False
        self._previous: dict[int, Any] = {}
        self._original: dict[int, Any] = {}
        """The handlers before ours: a program's later handler may call ours as its predecessor."""
        self._calling: set[int] = set()
        self._deadline: float | None = None
        self._finishing = 0
        self._held = threading.local()

    def install(self) -> None:
        """Installs the handlers; called whenever a run starts. Signal handlers need the main thread."""
        if not self._installed:
            self._installed = True
            exit_status.watch()
            atexit.register(self._at_exit)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(
                    before=self._hold_signals, after_in_parent=self._let_signals, after_in_child=self._forget
                )
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            present = signal.getsignal(number)
            # Signals that are ignored, or handled outside of Python, are left as they are.
            if present != self._on_signal and (present is signal.SIG_DFL or callable(present)):
                self._previous[number] = present
                self._original.setdefault(number, present)
                signal.signal(number, self._on_signal)

    def release(self) -> None:
        """Restores the earlier handlers, unless others were set since."""
        self._deadline = None
        for number in _SIGNALS:
            if signal.getsignal(number) == self._on_signal:
                with contextlib.suppress(ValueError):  # not the main thread: the handler finds no run to end
                    signal.signal(number, self._previous[number])

    def _hold_signals(self) -> None:
        # A signal that reaches a child before it has restored its handlers would be lost, and a pool
        # that terminates a worker right after its start would wait for it forever.
        self._held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    def _let_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._held.mask)

    def _forget(self) -> None:
        """Resets the handlers in a forked child, which has no run: a pool ends its workers by SIGTERM."""
        self._finishing = 0
        self.release()
        self._let_signals()

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """Context in which a run finishes normally; signals wait for its end."""
        self._finishing += 1
        try:
            yield
        finally:
            self._finishing -= 1
            if not self._finishing and not self._active():
                self.release()

    def _at_exit(self) -> None:
        code = exit_status.at_exit()
        for run in reversed(self._active()):
            try:
                run.finish(exit_code=code)
            except Exception as error:  # the other runs must end all the same
                terminal.termerror(f"run {run.path} could not be finished: {error}")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        previous = (self._original if number in self._calling else self._previous)[number]
        runs = self._active()
        if callable(previous):
            # It decides whether the process ends; if so, nothing can be sent later.
            _within(SIGNAL_SECONDS, [run._send_now for run in runs if not run._is_being_logged_to()])
            self._calling.add(number)
            try:
                previous(number, frame)
            finally:
                self._calling.discard(number)
            return
        if self._deadline is None:
            self._deadline = time.monotonic() + SIGNAL_SECONDS
        left = self._deadline - time.monotonic()
        if left > 0 and (self._finishing or any(run._is_being_logged_to() for run in runs)):
            # The interrupted code holds a lock that this needs: let it continue, and raise the signal again.
            again = threading.Timer(_BUSY_SECONDS, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        if left > 0:
            _within(left, [functools.partial(run._kill, 128 + number) for run in runs])
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _within(seconds: float, works: Iterable[Callable[[], None]]) -> None:
    """Runs each in a thread and waits for a limited time; errors must not delay the signal."""

    def guarded(work: Callable[[], None]) -> None:
        with contextlib.suppress(Exception):
            work()

    threads = [
        threading.Thread(target=guarded, args=(work,), name="modelyard-ending", daemon=True) for work in works
    ]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
