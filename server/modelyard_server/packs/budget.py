"""The bound on what uploads hold in memory."""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """How many bytes of uploads the process may hold; who asks for more waits, first come first served."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for bytes."""
        return len(self._waiting)

    def try_take(self, size: int) -> bool:
        """Takes `size` bytes if they are free and nobody waits."""
        if self._waiting or self.free < size:
            return False
        self.free -= size
        return True

    async def take(self, size: int) -> None:
        """Takes `size` bytes, at most `total`, once they are free."""
        if self.try_take(size):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)  # granted in the moment of the cancellation
            else:
                self.give(0)  # those behind may fit now
            raise

    def give(self, size: int) -> None:
        """Gives `size` bytes back."""
        self.free += size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.cancelled():
                if wanted > self.free:
                    return
                self.free -= wanted
                turn.set_result(None)
            self._waiting.popleft()
