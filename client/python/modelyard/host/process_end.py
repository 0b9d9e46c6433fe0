"""How a run ends that the program did not finish: with the process, or by a signal.

A signal that ends the process by default would lose the rows of the last second
and leave the run `running`. Its handler sends what is left, for a few seconds
at most, marks the run as killed, and lets the signal do what it did before.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Protocol

from modelyard.contract import errors
from modelyard.host import exit_status, terminal

SIGNAL_SECONDS = 5.0
"""How long a signal waits for a run to end: containers are killed 10 s after SIGTERM."""
_BUSY_SECONDS = 0.05
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(Protocol):
    """What has to be known of a run to end it."""

    path: Any

    def finish(self, exit_code: int | None = None) -> None:
        """Ends it."""

    def _kill(self, exit_code: int) -> None:
        """Ends it as stopped from outside."""

    def _send_now(self) -> None:
        """Sends what was logged."""

    def _is_being_logged_to(self) -> bool:
        """Whether this very thread is in the middle of a change of its rows."""


class Ending:
    """Ends the active run when the process ends. One is enough for a process."""

    def __init__(self, active: Callable[[], Ended | None]) -> None:
        self._active = active
        self._installed = False
        self._previous: dict[int, Any] = {}
        self._original: dict[int, Any] = {}
        """What stood before our first handler: a program's own may call that one as the handler before it."""
        self._calling: set[int] = set()
        self._deadline: float | None = None
        self._finishing = 0
        self._held = threading.local()

    def install(self) -> None:
        """Watches the process; called whenever a run starts. Signals only from the main thread."""
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
            # Ignored by whoever started us, or handled outside of Python: neither is ours to change.
            if present != self._on_signal and (present is signal.SIG_DFL or callable(present)):
                self._previous[number] = present
                self._original.setdefault(number, present)
                signal.signal(number, self._on_signal)

    def release(self) -> None:
        """Puts back the handlers that were there, where nobody has set another since."""
        self._deadline = None
        for number in _SIGNALS:
            if signal.getsignal(number) == self._on_signal:
                with contextlib.suppress(ValueError):  # not the main thread: the handler finds no run to end
                    signal.signal(number, self._previous[number])

    def _hold_signals(self) -> None:
        # One that reaches a child before it has its handlers back would be lost there:
        # a pool that ends a worker it has just started would wait for it for ever.
        self._held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    def _let_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._held.mask)

    def _forget(self) -> None:
        """In a forked child, which has no run of its own: a pool ends its workers by SIGTERM."""
        self._finishing = 0
        self.release()
        self._let_signals()

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """While a run ends by itself: a signal waits for it."""
        self._finishing += 1
        try:
            yield
        finally:
            self._finishing -= 1
            if not self._finishing and self._active() is None:
                self.release()

    def _at_exit(self) -> None:
        code = exit_status.at_exit()
        run = self._active()
        if run is None:
            return
        try:
            run.finish(exit_code=code)
        except errors.Error as error:
            terminal.termerror(f"run {run.path} could not be finished: {error}")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        previous = (self._original if number in self._calling else self._previous)[number]
        run = self._active()
        if callable(previous):
            # It decides whether the process ends; if it does, this was the last time to send anything.
            if run is not None and not run._is_being_logged_to():
                _within(SIGNAL_SECONDS, run._send_now)
            self._calling.add(number)
            try:
                previous(number, frame)
            finally:
                self._calling.discard(number)
            return
        if self._deadline is None:
            self._deadline = time.monotonic() + SIGNAL_SECONDS
        left = self._deadline - time.monotonic()
        if left > 0 and (self._finishing or (run is not None and run._is_being_logged_to())):
            # The interrupted code holds what ending needs: it goes on, and the signal comes again.
            again = threading.Timer(_BUSY_SECONDS, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        if run is not None and left > 0:
            _within(left, lambda: run._kill(128 + number))
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Does it in a thread of its own and waits so long; what fails in it must not hold up the signal."""

    def guarded() -> None:
        with contextlib.suppress(Exception):
            work()

    thread = threading.Thread(target=guarded, name="modelyard-ending", daemon=True)
    thread.start()
    thread.join(seconds)
