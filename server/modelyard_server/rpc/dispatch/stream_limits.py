"""How many streams a process serves at once, how many of them one principal may hold, and their memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from modelyard.contract import errors
from modelyard_server.domain.access.principals import FOLDER_OWNER, LOCAL, Principal
from modelyard_server.packs.budget import ByteBudget

READ_AHEAD_BYTES = 64 << 20
"""For all downloads together. A download that gets none of it reads one block at a time."""
WINDOW_BYTES = 64 << 20
"""For all simple uploads together. An upload that gets none of it cuts in smaller windows."""
LOCAL_BYTES = 192 << 20
"""For all uploads of local files together. An upload that gets none of it uses windows of a quarter."""

_WITHOUT_SHARE = {LOCAL.id, FOLDER_OWNER.id}
"""Callers without a key: they cannot be told apart, so they have no share of their own."""


class StreamLimit:
    """A limit on streams of one kind. Use it on the event loop.

    A principal may hold `share` percent, rounded up, of the places that no other principal holds, so
    that a newcomer always finds some. Callers without a key may hold all of them.
    """

    def __init__(self, most: int, share: int = 100) -> None:
        self.most = most
        self.open = 0
        self._share = share
        self._held: Counter[str] = Counter()

    def enter(self, principal: Principal) -> None:
        """Takes a place for the call of the current task until the task ends. Raises TooManyStreams."""
        if self.open >= self.most:
            raise errors.TooManyStreams(f"this server has {self.most} such streams open; try again shortly")
        held, others = self._held[principal.id], self.open - self._held[principal.id]
        allowed = -(-self._share * (self.most - others) // 100)
        if principal.id not in _WITHOUT_SHARE and held >= allowed:
            raise errors.TooManyStreams(
                f"{principal.name} has {held} such streams open, which is their share of {self.most}; "
                "try again when some have ended"
            )
        task = asyncio.current_task()
        assert task is not None
        self.open += 1
        self._held[principal.id] += 1
        # Bound to the task and not to the handler: the call holds memory until the client has read its end.
        task.add_done_callback(lambda _: self._leave(principal.id))

    def _leave(self, principal_id: str) -> None:
        self.open -= 1
        self._held[principal_id] -= 1
        if not self._held[principal_id]:
            del self._held[principal_id]


@dataclass(frozen=True)
class StreamLimits:
    """The limit of each kind of stream."""

    upload: StreamLimit
    commit: StreamLimit
    download: StreamLimit
    scan: StreamLimit
    watch: StreamLimit

    @classmethod
    def of(cls, uploads: int, downloads: int, watches: int, share: int) -> StreamLimits:
        """Commits have the limit of uploads, and scans of metrics that of downloads."""
        return cls(
            upload=StreamLimit(uploads, share),
            commit=StreamLimit(uploads, share),
            download=StreamLimit(downloads, share),
            scan=StreamLimit(downloads, share),
            watch=StreamLimit(watches, share),
        )

    def by_kind(self) -> dict[str, StreamLimit]:
        """Returns the limits by the names of their kinds."""
        return dict(vars(self))


@dataclass(frozen=True)
class MemoryBudgets:
    """Bytes that streams may hold beyond the minimum each one needs.

    No stream waits for a budget: one that finds it spent goes on with less.
    """

    read_ahead: ByteBudget = field(default_factory=lambda: ByteBudget(READ_AHEAD_BYTES))
    windows: ByteBudget = field(default_factory=lambda: ByteBudget(WINDOW_BYTES))
    local: ByteBudget = field(default_factory=lambda: ByteBudget(LOCAL_BYTES))
