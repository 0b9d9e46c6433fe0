"""SIGINT for background jobs: shells start those with it ignored, and their children inherit that."""

from __future__ import annotations

import signal


def pytest_sessionstart() -> None:
    """Lets the programs that tests start be interrupted, however the tests themselves were started."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
