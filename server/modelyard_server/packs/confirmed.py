"""Which packs this process has found complete in the store, and which of the others are lost.

A pack counts as lost only if the store returns the id that the database expects,
both before and after it reports the pack as absent or too short. A volume that is
not mounted, or a wrong bucket, would report every pack as absent.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from modelyard.contract import errors
from modelyard_server.packs.store import PackMissing, PackStore, pack_key

LIMIT = 100_000
"""Packs remembered, mostly of 32 MiB. Beyond it the oldest are forgotten, and checked again when needed."""


class PackSize(NamedTuple):
    """A live pack as the database records it; size in bytes."""

    pack_id: str
    entity_id: int
    size: int


class PackLoss(NamedTuple):
    """A pack of which the store has only the first `remaining` bytes; 0 if it has none."""

    pack: PackSize
    remaining: int


class PacksUnconfirmed(Exception):
    """Packs must be checked, outside the transaction, before their chunks may be reported as present."""

    def __init__(self, pack_ids: Sequence[str]) -> None:
        super().__init__(f"{len(pack_ids)} packs were not checked yet")
        self.pack_ids = pack_ids


class ConfirmedPacks:
    """The packs of one store that were found complete. Safe for use from several threads.

    `store_id` is the id that the database expects of the store.
    """

    def __init__(self, store: PackStore, store_id: str, *, limit: int = LIMIT) -> None:
        self.store = store
        self._store_id = store_id
        self._limit = limit
        self._confirmed: dict[str, None] = {}
        self._lock = threading.Lock()

    def __contains__(self, pack_id: str) -> bool:
        return pack_id in self._confirmed

    def require(self, pack_ids: Iterable[str]) -> None:
        """Raises PacksUnconfirmed with those of the packs that were not checked yet."""
        unconfirmed = [pack_id for pack_id in pack_ids if pack_id not in self._confirmed]
        if unconfirmed:
            raise PacksUnconfirmed(unconfirmed)

    def add(self, pack_ids: Sequence[str]) -> None:
        """Records packs that are complete, or whose lost chunks were quarantined in the database."""
        with self._lock:
            excess = max(0, len(self._confirmed) + len(pack_ids) - self._limit)
            for oldest in list(self._confirmed)[:excess]:
                del self._confirmed[oldest]
            self._confirmed.update(dict.fromkeys(pack_ids))

    def forget(self, pack_ids: Iterable[str]) -> None:
        """Removes packs, so that they are checked again when needed."""
        with self._lock:
            for pack_id in pack_ids:
                self._confirmed.pop(pack_id, None)

    def losses(self, packs: Sequence[PackSize]) -> list[PackLoss]:
        """The packs that are lost, by one request to the store for each. Blocks. Errors: StoreUnavailable."""
        suspects = [pack for pack in packs if self._stored_size(pack) < pack.size]
        if not suspects:
            return []
        self.require_store_id()
        lost = [PackLoss(pack, size) for pack in suspects if (size := self._stored_size(pack)) < pack.size]
        self.require_store_id()
        return lost

    def _stored_size(self, pack: PackSize) -> int:
        try:
            return self.store.stat(pack_key(pack.entity_id, pack.pack_id)).size
        except PackMissing:
            return 0

    def require_store_id(self) -> None:
        """Asks the store for its id. Errors: StoreUnavailable, also for another id than the expected one."""
        found = self.store.store_id()
        if found != self._store_id:
            raise errors.StoreUnavailable(
                "the store does not have the id that the database expects: "
                "another volume or bucket is in its place. Mount or restore the right one"
            )
