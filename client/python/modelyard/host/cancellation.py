"""Calls of some threads that another thread may end, with the waits between their attempts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Protocol

from modelyard.host import forking, waiting


class _Call(Protocol):
    """A call of gRPC that runs."""

    def cancel(self) -> object:
        """Ends it with an error."""


class Cancellation:
    """Ends the calls with one reply that are made in its context, running, repeated and later ones.

    They fail soon. A call that runs may have taken effect. Threads that are started with
    a copy of the context belong to it.
    """

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._lock = forking.lock()
        self._running: set[_Call] = set()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ends the calls; from any thread."""
        self._cancelled.set()
        with self._lock:
            running = list(self._running)
        for call in running:  # without the lock, which their threads take when they end
            call.cancel()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The context of the calls that it may end."""
        before = _current.set(self)
        try:
            yield
        finally:
            _current.reset(before)

    @contextlib.contextmanager
    def running(self, call: _Call) -> Iterator[None]:
        """The context in which a call has begun and is waited for."""
        with self._lock:
            self._running.add(call)
        try:
            if self.is_cancelled:  # `cancel` was called while it began
                call.cancel()
            yield
        finally:
            with self._lock:
                self._running.discard(call)

    def wait(self, seconds: float) -> bool:
        """Sleeps, until `cancel` at most; whether it was called."""
        return waiting.until(self._cancelled.wait, seconds)


_current: ContextVar[Cancellation | None] = ContextVar("modelyard_cancellation", default=None)


def current() -> Cancellation | None:
    """What may end the calls of the present context; None where nothing does."""
    return _current.get()


def is_cancelled() -> bool:
    """Whether calls of the present context are to end."""
    found = _current.get()
    return found is not None and found.is_cancelled


def pause(seconds: float) -> bool:
    """Sleeps between two attempts at a call; whether there is to be no further one."""
    found = _current.get()
    if found is not None:
        return found.wait(seconds)
    waiting.pause(seconds)
    return False
