"""Waiting for what happens in another process."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 30.0


def until(happened: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Returns once it happened; fails the test when it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"did not happen in {seconds:g} s"
        time.sleep(0.02)
