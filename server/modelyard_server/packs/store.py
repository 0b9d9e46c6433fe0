"""The interface of a pack store, and the checks that every store shares.

Public methods check their arguments, then call the driver's method of the same
name with an underscore, so that a driver may rely on valid keys and ranges. The
methods block. They may be called from several threads at once; one `OpenPack` is
used by one thread at a time.
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
_MARK = re.compile(r"marks/([0-9]{1,18})/([0-9]{1,18})")
_MARK_BYTES = 64 << 20
_STORE_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_PROBE_ENTITY = "probe"


class PackMissing(errors.ChunkCorrupt):
    """The store answered that it has no pack under this key."""

    def __init__(self, key: str) -> None:
        super().__init__("a pack is gone from the store", metadata={"pack": key})
        self.key = key


class PackTruncated(errors.ChunkCorrupt):
    """The pack exists but ends before the end of the requested range."""

    def __init__(self, key: str) -> None:
        super().__init__("a pack in the store is shorter than it was written", metadata={"pack": key})
        self.key = key


class StoreRefused(errors.StoreUnavailable):
    """The store refuses access or does not exist. Retrying does not help."""


class PackExists(Exception):
    """A pack is already stored under this key."""


class PackInfo(NamedTuple):
    """A pack as its store reports it: size in bytes, and when it was put, by the store's clock."""

    key: str
    size: int
    modified_at: datetime


@dataclass(frozen=True)
class StoreCheck:
    """The result of `PackStore.check`.

    The store's clock, how far it is ahead of this machine's, and the free bytes (None if unknown).
    """

    clock: datetime
    ahead: timedelta
    free_bytes: int | None


def pack_key(entity_id: int | str, pack_id: str) -> str:
    """The key of a pack: `packs/<entity id>/<pack id>`."""
    return _check_key(f"packs/{entity_id}/{pack_id}")


class OpenPack(ABC):
    """A pack that is being filled. It is not visible to readers before `put`.

    The caller MUST call `discard` when done, whether `put` succeeded or not.
    """

    size: int = 0
    """Bytes appended so far."""

    def append(self, data: bytes | memoryview) -> None:
        """Appends bytes.

        The store may keep `data` itself until `put`: the caller MUST NOT change
        it afterwards. After an error the pack can only be discarded.
        Errors: DiskFull, StoreUnavailable.
        """
        self._append(data)
        self.size += len(data)

    def put(self, key: str) -> None:
        """Stores the pack under `key`, which MUST be new: a key is written once.

        MUST be durable when it returns, and MUST be atomic: a reader finds the
        pack complete or not at all. When it raises, the pack may have been stored
        all the same, since a reply can be lost. Errors: DiskFull, StoreUnavailable.
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


class RangeSource(Protocol):
    """A driver's side of a `RangeReader`. Used by one thread at a time."""

    def read(self, size: int) -> bytes:
        """Returns `size` bytes, fewer only at the end of the pack. Errors: PackMissing, StoreUnavailable."""
        ...

    def close(self) -> None:
        """Releases what was opened. MUST be idempotent."""
        ...


class RangeReader:
    """A range of a pack, read sequentially, by one thread at a time."""

    def __init__(self, source: RangeSource, key: str, offset: int) -> None:
        self.at = offset
        """The offset in the pack of the next read."""
        self._source = source
        self._key = key
        self._reading = threading.Lock()
        self._is_closed = False

    def read(self, size: int) -> bytes:
        """Returns exactly the next `size` bytes. Errors: those of `PackStore.read`; ValueError if closed."""
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
        """Closes the range without waiting, from any thread. A read in progress closes it when it ends."""
        self._is_closed = True
        if self._reading.acquire(blocking=False):
            try:
                self._source.close()
            finally:
                self._reading.release()


class PackStore(ABC):
    """A store of packs.

    Every method MUST raise StoreUnavailable when the store gave no answer, and
    MUST NOT report a pack as absent then.
    """

    holds_bytes: bool
    """Whether an open pack keeps its bytes in memory until `put`."""

    @abstractmethod
    def open(self) -> OpenPack:
        """Returns a new, empty pack."""

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Returns exactly `length` bytes (at least 1) of a pack, never fewer.

        Errors: PackMissing; PackTruncated if the pack ends before the range does;
        StoreUnavailable.
        """
        reader = self.open_range(key, offset, length)
        try:
            return reader.read(length)
        finally:
            reader.close()

    def open_range(self, key: str, offset: int, length: int) -> RangeReader:
        """Returns a reader of a range, `length` at least 1. The store is first asked when it is read."""
        if offset < 0 or length < 1:
            raise ValueError(f"bad range: {length} bytes at {offset}")
        return RangeReader(self._open_range(_check_key(key), offset, length), key, offset)

    def stat(self, key: str) -> PackInfo:
        """Returns the size and time of a pack. Errors: PackMissing, StoreUnavailable."""
        return self._stat(_check_key(key))

    def delete(self, key: str) -> None:
        """Deletes a pack; MUST succeed if it is already absent. Errors: StoreUnavailable."""
        self._delete(_check_key(key))

    def list(self, prefix: str = "packs/", after: str = "") -> Iterator[PackInfo]:
        """Lists all packs, or with `packs/<entity id>/` one entity's; MUST be in ascending order of keys.

        `after` leaves out the keys up to this one. Packs put or deleted during the call may be
        listed or not. Errors: StoreUnavailable.
        """
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(f"{prefix!r} is neither packs/ nor packs/<entity id>/")
        return self._list(prefix, after)

    def free_bytes(self) -> int | None:
        """Returns the free space in bytes; None if the store does not report it. Errors: StoreUnavailable."""
        return None

    def clean(self) -> int:
        """Removes the open packs of processes that have ended; MUST NOT touch those of running ones.

        Returns how many were removed. Errors: StoreUnavailable.
        """
        return 0

    def claim(self, store_id: str) -> str:
        """Writes the store's id if it has none; MUST keep an existing one. Returns the id now in the store.

        Two concurrent claims may both return their own id: hold a lock in the
        database. Errors: DiskFull, StoreUnavailable.
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

    def put_mark(self, project_id: int, last_event: int, data: bytes) -> None:
        """Stores a mark of a project's numbers, durably. Errors: DiskFull, StoreUnavailable."""
        self._put_small(_mark_key(project_id, last_event), data)

    def marks(self) -> Iterator[tuple[int, int]]:
        """Lists the marks by project and last event. Errors: StoreUnavailable."""
        for found in self._list("marks/", ""):
            if name := _MARK.fullmatch(found.key):
                yield int(name[1]), int(name[2])

    def read_mark(self, project_id: int, last_event: int) -> bytes:
        """Returns the bytes of a mark. Errors: PackMissing, StoreUnavailable."""
        source = self._open_range(_mark_key(project_id, last_event), 0, _MARK_BYTES)
        try:
            return source.read(_MARK_BYTES)
        finally:
            source.close()

    def delete_mark(self, project_id: int, last_event: int) -> None:
        """Deletes a mark; MUST succeed if it is already absent. Errors: StoreUnavailable."""
        self._delete(_mark_key(project_id, last_event))

    @abstractmethod
    def store_id(self) -> str | None:
        """Returns the store's id; None if it was never claimed. Errors: StoreUnavailable."""

    def check(self) -> StoreCheck:
        """Writes, reads and deletes a small pack. Errors: those of these calls."""
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
                raise errors.StoreUnavailable("the store returned other bytes than were written")
        finally:
            self.delete(key)
        return StoreCheck(clock, clock - before, self.free_bytes())

    @abstractmethod
    def _open_range(self, key: str, offset: int, length: int) -> RangeSource:
        """MUST NOT send a request yet."""

    @abstractmethod
    def _stat(self, key: str) -> PackInfo: ...

    @abstractmethod
    def _delete(self, key: str) -> None: ...

    @abstractmethod
    def _list(self, prefix: str, after: str) -> Iterator[PackInfo]: ...

    @abstractmethod
    def _put_small(self, key: str, data: bytes) -> None:
        """MUST be durable when it returns."""

    @abstractmethod
    def _write_store_id(self, store_id: str) -> None: ...


def _mark_key(project_id: int, last_event: int) -> str:
    return f"marks/{project_id}/{last_event}"


def _check_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a pack's key")
    return key
