"""Which tests share a worker, and which belong to the quick ones.

`make test` runs two workers. All tests of a module run in one of them, so that
what a module's fixtures start is started once; those that measure a process or
use a limit of the whole system share a worker, one after the other.
"""

from __future__ import annotations

import pytest

MEASURING = (
    "tests/faults/test_clock_jumps.py",
    "tests/server/content/test_stream_limits.py",
    "tests/server/content/test_stream_memory.py",
    "tests/server/process/test_memory.py",
    "tests/server/process/test_overload.py",
)
QUICK = (
    "tests/cli/",
    "tests/contracts/",
    "tests/sdk/",
    "tests/server/content/",
    "tests/server/dispatch/",
    "tests/server/search/",
    "tests/wire/",
)
"""Whose tests are the quick ones, but those that are marked slow."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each test its group of pytest-xdist, and the quick ones their mark."""
    for item in items:
        module = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group("measuring" if module in MEASURING else module))
        if module.startswith(QUICK) and module not in MEASURING and not item.get_closest_marker("slow"):
            item.add_marker("quick")
