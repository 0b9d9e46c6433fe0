"""The bound on the bytes of uploads that the process holds in memory."""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """A counting semaphore over bytes; waiters are served in the order they came."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """The number of callers that wait in `acquire`."""
        return len(self._waiters)

    def try_acquire(self, size: int) -> bool:
        """Takes `size` bytes if they are free and no other caller waits; reports whether it did."""
        if self._waiters or self.free < size:
            return False
        self.free -= size
        return True

    async def acquire(self, size: int) -> None:
        """Takes `size` bytes, at most `total`; waits until they are free."""
        if self.try_acquire(size):
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((size, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release(size)  # granted and cancelled at the same moment
            else:
                self.release(0)  # smaller requests behind this one may fit now
            raise

    def release(self, size: int) -> None:
        """Returns `size` bytes and grants waiting requests that fit."""
        self.free += size
        while self._waiters:
            wanted, granted = self._waiters[0]
            if not granted.cancelled():
                if wanted > self.free:
                    return
                self.free -= wanted
                granted.set_result(None)
            self._waiters.popleft()
