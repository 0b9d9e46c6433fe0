"""Ctrl-C in a background job: shells start those with SIGINT ignored, and every program below inherits it."""

from __future__ import annotations

import signal


def pytest_sessionstart() -> None:
    """Lets the programs that tests start be interrupted, however the tests themselves were started."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
