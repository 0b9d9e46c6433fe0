"""How many streams a process serves at once, and how many of them one principal may hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from modelyard.contract import errors
from modelyard_server.domain.access.principals import FOLDER_OWNER, LOCAL, Principal

_UNDIVIDED = {LOCAL.id, FOLDER_OWNER.id}
"""Callers without a key: nobody is to be kept apart from them, or they are everybody."""


class Shares:
    """The places for streams of one kind; event loop only.

    A principal may hold `share` percent, rounded up, of the places that no other holds: so there
    are always some left for those who come. Callers without a key may hold them all.
    """

    def __init__(self, most: int, share: int = 100) -> None:
        self.most = most
        self.open = 0
        self._share = share
        self._held: Counter[str] = Counter()

    def enter(self, principal: Principal) -> None:
        """Takes a place for the call that the current task serves, until the task ends.

        Raises TooManyStreams.
        """
        if self.open >= self.most:
            raise errors.TooManyStreams(f"this server has {self.most} such streams open; try again shortly")
        held, others = self._held[principal.id], self.open - self._held[principal.id]
        allowed = -(-self._share * (self.most - others) // 100)
        if principal.id not in _UNDIVIDED and held >= allowed:
            raise errors.TooManyStreams(
                f"{principal.name} has {held} such streams open, which is their share of {self.most}; "
                "try again when some have ended"
            )
        task = asyncio.current_task()
        assert task is not None
        self.open += 1
        self._held[principal.id] += 1
        # With the task, not with the handler: until then the call holds memory, should nobody read its end.
        task.add_done_callback(lambda _: self._leave(principal.id))

    def _leave(self, principal_id: str) -> None:
        self.open -= 1
        self._held[principal_id] -= 1
        if not self._held[principal_id]:
            del self._held[principal_id]


@dataclass(frozen=True)
class StreamLimits:
    """The shares of each kind of stream."""

    upload: Shares
    commit: Shares
    download: Shares
    scan: Shares
    watch: Shares

    @classmethod
    def of(cls, uploads: int, downloads: int, watches: int, share: int) -> StreamLimits:
        """As many commits as uploads, and scans of metrics as downloads: one option is enough for both."""
        return cls(
            upload=Shares(uploads, share),
            commit=Shares(uploads, share),
            download=Shares(downloads, share),
            scan=Shares(downloads, share),
            watch=Shares(watches, share),
        )

    def by_kind(self) -> dict[str, Shares]:
        """Each kind's name and shares."""
        return dict(vars(self))
