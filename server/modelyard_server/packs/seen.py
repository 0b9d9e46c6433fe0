"""Which packs this process has seen whole in the store, and what of the others is surely lost.

A pack counts as lost only when the store answers for the id of this database,
before and after it said that the pack is absent or too short: a volume that is
not mounted, or another bucket, says the same of every pack.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from modelyard.contract import errors
from modelyard_server.packs.store import PackMissing, PackStore, pack_key

LIMIT = 100_000
"""Packs that are remembered, of 32 MiB mostly; the oldest are forgotten, and looked at again."""


class PackSize(NamedTuple):
    """A live pack as the database knows it; size in bytes."""

    pack_id: str
    entity_id: int
    size: int


class Loss(NamedTuple):
    """A pack of which only the first `left` bytes are in the store; 0: it is gone."""

    pack: PackSize
    left: int


class PacksUnseen(Exception):
    """Before chunks may be called present, their packs must be looked at, outside of the transaction."""

    def __init__(self, pack_ids: Sequence[str]) -> None:
        super().__init__(f"{len(pack_ids)} packs were not looked at yet")
        self.pack_ids = pack_ids


class SeenPacks:
    """The packs of one store that were found whole. Safe for threads; `store_id` is the database's."""

    def __init__(self, store: PackStore, store_id: str, *, limit: int = LIMIT) -> None:
        self.store = store
        self._store_id = store_id
        self._limit = limit
        self._seen: dict[str, None] = {}
        self._lock = threading.Lock()

    def __contains__(self, pack_id: str) -> bool:
        return pack_id in self._seen

    def require(self, pack_ids: Iterable[str]) -> None:
        """Raises PacksUnseen for those that were not seen yet."""
        unseen = [pack_id for pack_id in pack_ids if pack_id not in self._seen]
        if unseen:
            raise PacksUnseen(unseen)

    def add(self, pack_ids: Sequence[str]) -> None:
        """Notes packs that are whole, or whose lost chunks the database does not call present any more."""
        with self._lock:
            for oldest in list(self._seen)[: max(0, len(self._seen) + len(pack_ids) - self._limit)]:
                del self._seen[oldest]
            self._seen.update(dict.fromkeys(pack_ids))

    def forget(self, pack_ids: Iterable[str]) -> None:
        """Has packs looked at again."""
        with self._lock:
            for pack_id in pack_ids:
                self._seen.pop(pack_id, None)

    def losses(self, packs: Sequence[PackSize]) -> list[Loss]:
        """What is lost of the packs; asks the store for each. Blocks. Errors: StoreUnavailable."""
        suspects = [pack for pack in packs if self._left(pack) < pack.size]
        if not suspects:
            return []
        self._require_ours()
        lost = [Loss(pack, left) for pack in suspects if (left := self._left(pack)) < pack.size]
        self._require_ours()
        return lost

    def _left(self, pack: PackSize) -> int:
        try:
            return self.store.stat(pack_key(pack.entity_id, pack.pack_id)).size
        except PackMissing:
            return 0

    def _require_ours(self) -> None:
        found = self.store.store_id()
        if found != self._store_id:
            raise errors.StoreUnavailable(
                "packs are missing, and so is the store's own id: another volume or bucket is in its place. "
                "Mount or restore the right one"
            )
