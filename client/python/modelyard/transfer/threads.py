"""A thread group of one transfer, which the first error stops."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence


class Stopped(Exception):
    """Raised in a thread after another has failed; `join` raises the first error."""


class ThreadGroup:
    """Starts threads and waits for them; `join` raises the first error of any.

    They are daemon threads, so an abandoned transfer does not keep the process alive.
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
        """Adds a function that wakes or cancels waiting threads."""
        self._on_failure.append(action)

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Runs `work` in a new thread, in the caller's context: its calls belong to the same trace."""
        run = contextvars.copy_context().run
        thread = threading.Thread(
            target=run, args=(self._guarded, work), name=f"modelyard-{name}", daemon=True
        )
        thread.start()
        return thread

    def fail(self, error: BaseException) -> None:
        """Stops the transfer with this error, unless it has failed already."""
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
                    thread.join(0.05)  # wait in short intervals, so that Ctrl-C interrupts the main thread
        except BaseException as error:
            self.fail(error)
        if self._error is not None:
            raise self._error

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.fail(error)
