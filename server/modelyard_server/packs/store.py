"""The interface of a store of packs, and the checks that every store shares.

Public methods check their arguments and call the driver's method of the same
name with an underscore, so a driver may rely on good keys and ranges. All of
it is synchronous, called from threads, and safe to call from several at once;
one `OpenPack` belongs to one thread at a time.
"""

from __future__ import annotations

import re
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from modelyard.contract import errors
from modelyard_server.observability import telemetry

_KEY = re.compile(r"packs/[0-9A-Za-z-]{1,64}/[0-9A-Za-z-]{1,64}")
_PREFIX = re.compile(r"packs/([0-9A-Za-z-]{1,64}/)?")
_STORE_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_PROBE_ENTITY = "probe"


class PackMissing(errors.ChunkCorrupt):
    """The store was asked and has no pack under this key."""

    def __init__(self, key: str) -> None:
        super().__init__("a pack is gone from the store", metadata={"pack": key})
        self.key = key


class PackTruncated(errors.ChunkCorrupt):
    """The pack is there but ends before the range that was asked for."""

    def __init__(self, key: str) -> None:
        super().__init__("a pack in the store is shorter than it was written", metadata={"pack": key})
        self.key = key


class StoreRefused(errors.StoreUnavailable):
    """The store can be reached and does not let us in, or is not there; waiting is of no use."""


class PackExists(Exception):
    """A key was to be written a second time."""


class PackInfo(NamedTuple):
    """What a store knows of a pack: size in bytes, and the time it was put by the store's own clock."""

    key: str
    size: int
    modified_at: datetime


@dataclass(frozen=True)
class StoreCheck:
    """What a probe of the store found: its clock, how far that is ahead of ours, free bytes or None."""

    clock: datetime
    ahead: timedelta
    free_bytes: int | None


def pack_key(entity_id: int | str, pack_id: str) -> str:
    """The key of a pack: `packs/<entity id>/<pack id>`."""
    return _check_key(f"packs/{entity_id}/{pack_id}")


class OpenPack(ABC):
    """A pack that is being filled. Nobody sees it before `put`.

    Its user MUST call `discard` when done, whether `put` succeeded or not.
    """

    size: int = 0
    """Bytes appended so far."""

    def append(self, data: bytes | memoryview) -> None:
        """Adds bytes at the end.

        The store may keep `data` itself until `put`: the caller MUST NOT change
        it afterwards. After an error the pack can only be discarded.
        Errors: DiskFull, StoreUnavailable.
        """
        self._append(data)
        self.size += len(data)

    def put(self, key: str) -> None:
        """Stores the pack under `key`, which MUST be new: a key is written once.

        MUST be durable when it returns, and MUST be atomic: a reader finds the
        pack whole or not at all. When it raises, either may be the case: the
        reply may have been lost. Errors: DiskFull, StoreUnavailable.
        """
        if not self.size:
            raise ValueError("an empty pack cannot be put")
        self._put(_check_key(key))

    @abstractmethod
    def discard(self) -> None:
        """Frees what the open pack holds. MUST be idempotent, and MUST NOT touch a pack that was put."""

    @abstractmethod
    def _append(self, data: bytes | memoryview) -> None: ...

    @abstractmethod
    def _put(self, key: str) -> None: ...


class Bytes(Protocol):
    """What a driver opens for a range of a pack. Used by one thread at a time."""

    def read(self, size: int) -> bytes:
        """Fewer bytes than `size` only where the pack ends. Errors: PackMissing, StoreUnavailable."""
        ...

    def close(self) -> None:
        """Lets go of what was opened. MUST be idempotent."""
        ...


class RangeReader:
    """A range of a pack, read in order from its beginning, by one thread at a time."""

    def __init__(self, source: Bytes, key: str, offset: int) -> None:
        self.at = offset
        """Where in the pack the next read begins."""
        self._source = source
        self._key = key
        self._reading = threading.Lock()
        self._is_closed = False

    def read(self, size: int) -> bytes:
        """The next bytes: exactly `size`. Errors: those of `PackStore.read`; ValueError when it is closed."""
        with self._reading:
            if self._is_closed:
                raise ValueError("the range was closed")
            with telemetry.step("store read", telemetry.STORE_READ_SECONDS):
                data = self._source.read(size)
            self.at += len(data)
        if self._is_closed:
            self.close()
        telemetry.STORE_READ_BYTES.add(len(data))
        if len(data) != size:
            raise PackTruncated(self._key)
        return data

    def close(self) -> None:
        """Ends it, from any thread and without waiting: a read that is under way does so itself."""
        self._is_closed = True
        if self._reading.acquire(blocking=False):
            try:
                self._source.close()
            finally:
                self._reading.release()


class PackStore(ABC):
    """Where packs lie.

    Every method MUST raise StoreUnavailable when it could not ask the store,
    and MUST NOT answer "absent" then.
    """

    holds_bytes: bool
    """Whether an open pack keeps its bytes in memory until `put`."""

    @abstractmethod
    def open(self) -> OpenPack:
        """A new, empty pack."""

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Bytes of a pack: MUST be exactly `length` (at least 1), never fewer.

        Errors: PackMissing; PackTruncated when the range ends behind the pack;
        StoreUnavailable.
        """
        reader = self.open_range(key, offset, length)
        try:
            return reader.read(length)
        finally:
            reader.close()

    def open_range(self, key: str, offset: int, length: int) -> RangeReader:
        """A range of a pack, `length` at least 1, to be read piece by piece; nothing is asked before."""
        if offset < 0 or length < 1:
            raise ValueError(f"bad range: {length} bytes at {offset}")
        return RangeReader(self._open_range(_check_key(key), offset, length), key, offset)

    def stat(self, key: str) -> PackInfo:
        """Size and time of a pack. Errors: PackMissing, StoreUnavailable."""
        return self._stat(_check_key(key))

    def delete(self, key: str) -> None:
        """Removes a pack for good; MUST succeed when it is already absent. Errors: StoreUnavailable."""
        self._delete(_check_key(key))

    def list(self, prefix: str = "packs/") -> Iterator[PackInfo]:
        """All packs, or with `packs/<entity id>/` one entity's, MUST be in ascending order of their keys.

        Packs put or deleted meanwhile may be in it or not. Errors: StoreUnavailable.
        """
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(f"{prefix!r} is neither packs/ nor packs/<entity id>/")
        return self._list(prefix)

    def free_bytes(self) -> int | None:
        """Room for more bytes; None where the store does not tell. Errors: StoreUnavailable."""
        return None

    def clean(self) -> int:
        """Removes what dead processes left of their open packs; MUST NOT touch those of living ones.

        Returns how many were removed. Errors: StoreUnavailable.
        """
        return 0

    def claim(self, store_id: str) -> str:
        """Writes the store's id where there is none; MUST keep one that is there. Returns the id in force.

        Two claims at the same moment may both return their own: hold a lock
        in the database. Errors: DiskFull, StoreUnavailable.
        """
        if not _STORE_ID.fullmatch(store_id):
            raise ValueError(f"bad store id {store_id!r}")
        found = self.store_id()
        if found is None:
            self._write_store_id(store_id)
            found = self.store_id()
        if found is None:
            raise errors.StoreUnavailable("the store did not keep its id")
        return found

    @abstractmethod
    def store_id(self) -> str | None:
        """The id that lies in the store; None when it was never claimed. Errors: StoreUnavailable."""

    def check(self) -> StoreCheck:
        """Writes, reads back and deletes a small pack. Errors: those of these calls."""
        key = pack_key(_PROBE_ENTITY, str(uuid.uuid4()))
        probe = uuid.uuid4().bytes
        before = datetime.now(UTC)
        pack = self.open()
        try:
            pack.append(probe)
            pack.put(key)
        finally:
            pack.discard()
        try:
            clock = self.stat(key).modified_at
            if self.read(key, 0, len(probe)) != probe:
                raise errors.StoreUnavailable("the store gave back other bytes than were written")
        finally:
            self.delete(key)
        return StoreCheck(clock, clock - before, self.free_bytes())

    @abstractmethod
    def _open_range(self, key: str, offset: int, length: int) -> Bytes:
        """MUST NOT ask the store yet."""

    @abstractmethod
    def _stat(self, key: str) -> PackInfo: ...

    @abstractmethod
    def _delete(self, key: str) -> None: ...

    @abstractmethod
    def _list(self, prefix: str) -> Iterator[PackInfo]: ...

    @abstractmethod
    def _write_store_id(self, store_id: str) -> None: ...


def _check_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a pack's key")
    return key
