"""The threads of one transfer: the first error ends them all."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence


class Stopped(Exception):
    """Another thread failed; its error is the one to show."""


class ThreadGroup:
    """Starts threads and waits for them; `join` raises the first error of any.

    They are daemons: a transfer that was given up never keeps a process alive.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on_failure: list[Callable[[], None]] = []
        self._error: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether a thread has failed."""
        return self._error is not None

    def on_failure(self, action: Callable[[], None]) -> None:
        """Adds what wakes up or cuts off threads that wait."""
        self._on_failure.append(action)

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Runs `work` in a thread of its own, in the caller's context: its calls belong to the same trace."""
        run = contextvars.copy_context().run
        thread = threading.Thread(
            target=run, args=(self._guarded, work), name=f"modelyard-{name}", daemon=True
        )
        thread.start()
        return thread

    def fail(self, error: BaseException) -> None:
        """Ends the transfer with this error, unless it ends with another already."""
        with self._lock:
            if self._error is None and not isinstance(error, Stopped):
                self._error = error
        for action in self._on_failure:
            action()

    def join(self, threads: Sequence[threading.Thread]) -> None:
        """Waits for these threads. Errors: the first of any thread of the group, at once."""
        try:
            while not self.failed and any(thread.is_alive() for thread in threads):
                for thread in threads:
                    thread.join(0.05)  # a main thread that waits in short spells can be interrupted
        except BaseException as error:
            self.fail(error)
        if self._error is not None:
            raise self._error

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.fail(error)
