"""Waits in short steps, so that Ctrl-C and signals take effect soon.

Python handles a signal between two steps of the main thread. One that comes just
before the thread waits, or that the system gives to another thread, does not
interrupt the wait: without steps it would be handled after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

STEP_SECONDS = 0.2


def until(ready: Callable[[float], object], seconds: float | None = None) -> bool:
    """Calls `ready` with a short timeout until it returns something true; False when `seconds` have passed.

    `ready` is the wait of an event, for example. None: without a limit.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        step = STEP_SECONDS if deadline is None else min(STEP_SECONDS, deadline - time.monotonic())
        if ready(max(step, 0.0)):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False


def pause(seconds: float) -> None:
    """Sleeps."""
    until(time.sleep, seconds)


def join(thread: threading.Thread, seconds: float | None = None) -> bool:
    """Waits for the end of a thread; whether it has ended."""

    def has_ended(step: float) -> bool:
        thread.join(step)
        return not thread.is_alive()

    return until(has_ended, seconds)
