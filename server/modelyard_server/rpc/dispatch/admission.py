"""How many calls a process holds at once, and what the others are told.

gRPC itself would end what it cannot queue with a bare CANCELLED. Its queue is
made long enough (`serving`) that calls get here, where they are refused with a
reason that clients wait for and retry.
"""

from __future__ import annotations

import asyncio
from typing import Any

from modelyard.contract import errors

MOST_CALLS = 2_000
"""Calls that a process holds, from their metadata to their status; those without a key are short ones."""
MOST_OPEN_CALLS = 500
"""The same for health and reflection, which need no key."""


class Admission:
    """Counts calls; event loop only."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def enter(self) -> None:
        """Counts the call that the current task serves, until the task ends. Raises RateLimited."""
        if self.held >= self.most:
            raise errors.RateLimited(f"the server holds {self.most:,} calls at once; repeat the call")
        task = asyncio.current_task()
        assert task is not None
        self.held += 1
        # Not by the handler: a client may go away before its request has arrived, and then none runs.
        task.add_done_callback(self._leave)

    def _leave(self, _task: asyncio.Task[Any]) -> None:
        self.held -= 1
