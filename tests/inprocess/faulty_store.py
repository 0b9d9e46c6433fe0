"""A wrapper around a real store that fails on request."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from modelyard import errors
from modelyard_server.packs import OpenPack, PackInfo, PackStore
from modelyard_server.packs.store import RangeReader, RangeSource

HOLD_SECONDS = 30.0

_T = TypeVar("_T")


@dataclass
class _Fault:
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None
    change: Callable[[bytes], bytes] | None = None
    was_hit: bool = False


class FaultyStore(PackStore):
    """Does what the store inside does, except for the faults that were set.

    `nth` counts each operation's calls from 1: open, append, put, read, stat,
    delete, list. Leaving the context asserts that every fault was hit.
    """

    def __init__(self, inner: PackStore) -> None:
        self._inner = inner
        self.holds_bytes = inner.holds_bytes
        self._faults: dict[tuple[str, int], _Fault] = {}
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        """How often each operation was called."""
        self.open_packs = 0
        """Packs opened and not discarded yet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.assert_hit()

    def fail(self, operation: str, nth: int = 1, error: Exception | None = None) -> None:
        """The call raises and does nothing; by default StoreUnavailable."""
        self._set(operation, nth, _Fault(before=_raiser(error)))

    def lose_reply(self, operation: str, nth: int = 1) -> None:
        """The call takes effect, and raises StoreUnavailable."""
        self._set(operation, nth, _Fault(after=_raiser(None)))

    def hold(self, operation: str, nth: int = 1) -> threading.Event:
        """The call waits until the event is set, before it does anything."""
        release = threading.Event()

        def wait() -> None:
            assert release.wait(HOLD_SECONDS), f"{operation} {nth} was held and never released"

        self._set(operation, nth, _Fault(before=wait))
        return release

    def short_read(self, nth: int = 1, missing: int = 1) -> None:
        """The read gives the last `missing` bytes too few."""
        self._set("read", nth, _Fault(change=lambda data: data[:-missing]))

    def flip_bit(self, nth: int = 1) -> None:
        """The read gives one bit wrong."""
        self._set("read", nth, _Fault(change=lambda data: bytes([data[0] ^ 1]) + data[1:]))

    def assert_hit(self) -> None:
        """Fails if a fault was not hit: its test would have tested nothing."""
        idle = [f"{operation} {nth}" for (operation, nth), fault in self._faults.items() if not fault.was_hit]
        assert not idle, f"these faults were never hit: {', '.join(idle)}"

    def call(self, operation: str, do: Callable[[], _T]) -> _T:
        """Counts the call and runs it, with its fault if it has one."""
        with self._lock:
            self.calls[operation] += 1
            fault = self._faults.get((operation, self.calls[operation]))
        if fault is None:
            return do()
        fault.was_hit = True
        if fault.before:
            fault.before()
        result = do()
        if fault.after:
            fault.after()
        if fault.change and isinstance(result, bytes):
            return fault.change(result)  # type: ignore[return-value] # the same type: it was just checked
        return result

    def open(self) -> OpenPack:
        pack = self.call("open", self._inner.open)
        self.count_open(1)
        return _FaultyPack(self, pack)

    def count_open(self, change: int) -> None:
        """Keeps `open_packs`."""
        with self._lock:
            self.open_packs += change

    def free_bytes(self) -> int | None:
        return self._inner.free_bytes()

    def clean(self) -> int:
        return self._inner.clean()

    def store_id(self) -> str | None:
        return self._inner.store_id()

    def _open_range(self, key: str, offset: int, length: int) -> RangeSource:
        return _FaultyRange(self, self._inner.open_range(key, offset, length))

    def _stat(self, key: str) -> PackInfo:
        return self.call("stat", lambda: self._inner.stat(key))

    def _delete(self, key: str) -> None:
        self.call("delete", lambda: self._inner.delete(key))

    def _list(self, prefix: str, after: str) -> Iterator[PackInfo]:
        return self.call("list", lambda: self._inner.list(prefix, after))

    def marks(self) -> Iterator[tuple[int, int]]:
        return self._inner.marks()

    def read_mark(self, project_id: int, last_event: int) -> bytes:
        return self._inner.read_mark(project_id, last_event)

    def delete_mark(self, project_id: int, last_event: int) -> None:
        self._inner.delete_mark(project_id, last_event)

    def _put_small(self, key: str, data: bytes) -> None:
        self._inner._put_small(key, data)

    def _write_store_id(self, store_id: str) -> None:
        self._inner.claim(store_id)

    def _set(self, operation: str, nth: int, fault: _Fault) -> None:
        self._faults[operation, nth] = fault


class _FaultyRange:
    def __init__(self, store: FaultyStore, inner: RangeReader) -> None:
        self._store = store
        self._inner = inner

    def read(self, size: int) -> bytes:
        return self._store.call("read", lambda: self._inner.read(size))

    def close(self) -> None:
        self._inner.close()


class _FaultyPack(OpenPack):
    def __init__(self, store: FaultyStore, inner: OpenPack) -> None:
        self._store = store
        self._inner = inner
        self._is_open = True

    def discard(self) -> None:
        self._inner.discard()
        if self._is_open:
            self._is_open = False
            self._store.count_open(-1)

    def _append(self, data: bytes | memoryview) -> None:
        self._store.call("append", lambda: self._inner.append(data))

    def _put(self, key: str) -> None:
        self._store.call("put", lambda: self._inner.put(key))


def _raiser(error: Exception | None) -> Callable[[], None]:
    def throw() -> None:
        raise error or errors.StoreUnavailable("a fault that a test set")

    return throw
