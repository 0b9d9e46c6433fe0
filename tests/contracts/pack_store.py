"""The contract of pack stores."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from modelyard import errors
from modelyard_server.packs import PackMissing, PackStore, PackTruncated, pack_key, store_from_url
from tests.inprocess.faulty_store import FaultyStore

MIB = 1 << 20


def new_key(entity: int | str = 7) -> str:
    return pack_key(entity, str(uuid.uuid4()))


def put(store: PackStore, key: str, *parts: bytes) -> None:
    pack = store.open()
    try:
        for part in parts:
            pack.append(part)
        pack.put(key)
    finally:
        pack.discard()


def every_call(store: PackStore) -> list[Callable[[], object]]:
    return [
        lambda: store.read(new_key(), 0, 1),
        lambda: store.stat(new_key()),
        lambda: store.delete(new_key()),
        lambda: list(store.list()),
        lambda: list(store.list("packs/7/")),
        store.store_id,
        lambda: store.claim("mine"),
        lambda: store.put_mark(1, 2, b"{}"),
        lambda: store.read_mark(1, 2),
        lambda: store.delete_mark(1, 2),
        lambda: list(store.marks()),
        lambda: put(store, new_key(), b"lost"),
        store.check,
    ]


class PackStoreContract:
    """Subclasses have fixtures: `url` of an empty store, and `unreachable`, stores that cannot be asked."""

    @pytest.fixture
    def store(self, url: str) -> PackStore:
        return store_from_url(url)

    @pytest.fixture
    def reopened(self, url: str) -> Callable[[], PackStore]:
        """Makes another store over the same place, as another process would."""
        return lambda: store_from_url(url)

    def test_what_was_put_is_read_by_another_process(
        self, store: PackStore, reopened: Callable[[], PackStore]
    ) -> None:
        key, parts = new_key(), [random.randbytes(MIB + 1), b"x", random.randbytes(5 * MIB)]
        put(store, key, *parts)
        whole = b"".join(parts)
        assert reopened().read(key, 0, len(whole)) == whole

    def test_memoryviews_are_stored_as_bytes_are(self, store: PackStore) -> None:
        key, data = new_key(), random.randbytes(1000)
        pack = store.open()
        pack.append(memoryview(data)[:300])
        pack.append(memoryview(data)[300:])
        assert pack.size == 1000
        pack.put(key)
        pack.discard()
        assert store.read(key, 0, 1000) == data

    def test_put_is_atomic(self, store: PackStore, reopened: Callable[[], PackStore]) -> None:
        key, size, seen, done = new_key(), 8 * MIB, set[int](), threading.Event()
        pack, reader = store.open(), reopened()
        for _ in range(8):
            pack.append(random.randbytes(MIB))
        with pytest.raises(PackMissing):
            reader.stat(key)

        def watch() -> None:
            while not done.is_set():
                try:
                    seen.add(reader.stat(key).size)
                except PackMissing:
                    continue

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            pack.put(key)
        finally:
            done.set()
            watching.join()
            pack.discard()
        assert seen <= {size}
        assert reader.stat(key).size == size

    def test_discard_is_idempotent_and_leaves_nothing(self, store: PackStore) -> None:
        pack = store.open()
        pack.append(b"never seen")
        pack.discard()
        pack.discard()
        with pytest.raises(ValueError, match="put or discarded"):
            pack.put(new_key())
        assert list(store.list()) == []

    def test_discard_does_not_touch_a_pack_that_was_put(self, store: PackStore) -> None:
        key = new_key()
        put(store, key, b"kept")
        assert store.read(key, 0, 4) == b"kept"

    def test_an_empty_pack_cannot_be_put(self, store: PackStore) -> None:
        pack = store.open()
        with pytest.raises(ValueError, match="empty"):
            pack.put(new_key())
        pack.discard()

    def test_read_gives_exactly_the_range(self, store: PackStore) -> None:
        key, data = new_key(), random.randbytes(3 * MIB)
        put(store, key, data)
        for offset, length in [(0, 1), (len(data) - 1, 1), (1, MIB), (MIB - 1, 2 * MIB + 1), (0, len(data))]:
            assert store.read(key, offset, length) == data[offset : offset + length]

    @pytest.mark.parametrize(("offset", "length"), [(0, 11), (9, 2), (10, 1), (1000, 1)])
    def test_read_never_gives_fewer_bytes(self, store: PackStore, offset: int, length: int) -> None:
        key = new_key()
        put(store, key, b"0123456789")
        with pytest.raises(PackTruncated):
            store.read(key, offset, length)

    def test_ranges_are_read_in_order_piece_by_piece(self, store: PackStore) -> None:
        keys = [new_key(), new_key()]
        wholes = [random.randbytes(5 * MIB + 3) for _ in keys]
        for key, whole in zip(keys, wholes, strict=True):
            put(store, key, whole)
        readers = [store.open_range(key, 2, 5 * MIB) for key in keys]
        got = [b"", b""]
        for size in (MIB, 1, 2 * MIB, 2 * MIB - 1):  # the two take turns, as the packs of a file do
            for number, reader in enumerate(readers):
                assert reader.at == 2 + len(got[number])
                got[number] += reader.read(size)
        assert got == [whole[2 : 2 + 5 * MIB] for whole in wholes]
        for reader in readers:
            reader.close()

    def test_a_range_may_be_left_at_any_point(self, store: PackStore) -> None:
        key = new_key()
        put(store, key, bytes(5 * MIB))
        for pieces in range(3):
            reader = store.open_range(key, 0, 5 * MIB)
            assert all(reader.read(MIB) == bytes(MIB) for _ in range(pieces))
            reader.close()
            reader.close()
            with pytest.raises(ValueError, match="closed"):
                reader.read(1)
        assert store.read(key, 0, 5 * MIB) == bytes(5 * MIB)

    def test_a_range_that_ends_behind_the_pack_gives_what_is_there_and_says_so(
        self, store: PackStore
    ) -> None:
        key = new_key()
        put(store, key, bytes(3 * MIB))
        reader = store.open_range(key, 0, 4 * MIB)
        assert reader.read(2 * MIB) == bytes(2 * MIB)
        with pytest.raises(PackTruncated):
            reader.read(2 * MIB)
        reader.close()
        gone = store.open_range(new_key(), 0, 10)
        with pytest.raises(PackMissing):
            gone.read(1)

    def test_a_missing_pack_is_named(self, store: PackStore) -> None:
        key = new_key()
        with pytest.raises(PackMissing) as reading:
            store.read(key, 0, 1)
        assert reading.value.key == key
        with pytest.raises(PackMissing):
            store.stat(key)

    @pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, 0), (0, -1)])
    def test_an_invalid_range_is_refused(self, store: PackStore, offset: int, length: int) -> None:
        with pytest.raises(ValueError, match="range"):
            store.read(new_key(), offset, length)

    @pytest.mark.parametrize("key", ["", "store-id", "packs/7", "packs/7/../x", "packs//x", "/packs/7/x"])
    def test_an_invalid_key_is_refused(self, store: PackStore, key: str) -> None:
        for call in (store.delete, store.stat, lambda key: store.read(key, 0, 1)):
            with pytest.raises(ValueError, match="key"):
                call(key)

    def test_stat_returns_size_and_time(self, store: PackStore) -> None:
        key = new_key()
        before = store.check().clock
        put(store, key, b"12345")
        found = store.stat(key)
        assert (found.key, found.size) == (key, 5)
        assert before - timedelta(seconds=1) <= found.modified_at <= before + timedelta(minutes=1)

    def test_delete_removes_and_succeeds_when_absent(self, store: PackStore) -> None:
        key, other = new_key(), new_key()
        put(store, key, b"goes")
        put(store, other, b"stays")
        store.delete(key)
        store.delete(key)
        store.delete(new_key(99))
        with pytest.raises(PackMissing):
            store.read(key, 0, 1)
        assert [found.key for found in store.list()] == [other]

    def test_list_is_in_ascending_order_of_keys(self, store: PackStore) -> None:
        keys = [new_key(entity) for entity in (10, 1, 2, 1, "a-b", "a", 100)]
        for number, key in enumerate(keys):
            put(store, key, b"x" * (number + 1))
        sizes = {key: number + 1 for number, key in enumerate(keys)}
        assert [(found.key, found.size) for found in store.list()] == sorted(sizes.items())
        assert [found.key for found in store.list("packs/1/")] == sorted([keys[1], keys[3]])
        assert list(store.list("packs/3/")) == []

    def test_list_goes_on_behind_a_key(self, store: PackStore) -> None:
        keys = sorted(new_key(entity) for entity in (7, 7, 70, 8, "7-a"))
        for key in keys:
            put(store, key, b"x")
        for index, key in enumerate(keys):
            assert [info.key for info in store.list(after=key)] == keys[index + 1 :]
        assert [info.key for info in store.list("packs/7/", after=keys[0])] == [
            key for key in keys[1:] if key.startswith("packs/7/")
        ]

    @pytest.mark.parametrize("prefix", ["", "packs", "packs/1", "tmp/", "packs/../"])
    def test_list_refuses_other_prefixes(self, store: PackStore, prefix: str) -> None:
        with pytest.raises(ValueError, match="neither"):
            store.list(prefix)

    def test_clean_leaves_open_packs_alone(self, store: PackStore, reopened: Callable[[], PackStore]) -> None:
        key, pack = new_key(), store.open()
        pack.append(b"still ")
        assert reopened().clean() == 0
        pack.append(b"here")
        pack.put(key)
        pack.discard()
        assert store.read(key, 0, 10) == b"still here"

    def test_marks_are_listed_replaced_and_deleted_and_are_no_packs(
        self, store: PackStore, reopened: Callable[[], PackStore]
    ) -> None:
        assert list(store.marks()) == []
        for place in ((7, 1), (7, 12), (12, 3)):
            store.put_mark(*place, b"first")
        store.put_mark(7, 12, b"second")
        assert reopened().read_mark(7, 12) == b"second"
        store.delete_mark(7, 1)
        store.delete_mark(7, 1)
        assert sorted(reopened().marks()) == [(7, 12), (12, 3)]
        with pytest.raises(PackMissing):
            store.read_mark(7, 1)
        assert list(store.list()) == []

    def test_claim_keeps_an_id_that_is_there(
        self, store: PackStore, reopened: Callable[[], PackStore]
    ) -> None:
        assert store.store_id() is None
        assert store.claim("first") == "first"
        assert reopened().claim("second") == "first"
        assert reopened().store_id() == "first"
        assert list(store.list()) == []

    def test_check_leaves_nothing_behind(self, store: PackStore) -> None:
        found = store.check()
        assert abs(found.ahead) < timedelta(minutes=1)
        assert found.free_bytes is None or found.free_bytes > 0
        assert list(store.list()) == []

    def test_several_threads_at_once(self, store: PackStore) -> None:
        bodies = {new_key(number % 3): random.randbytes(100_000 + number) for number in range(24)}

        def there_and_back(key: str) -> bool:
            put(store, key, bodies[key])
            return store.read(key, 1, len(bodies[key]) - 1) == bodies[key][1:]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(there_and_back, bodies))
        assert [found.key for found in store.list()] == sorted(bodies)

    def test_an_unreachable_store_never_reports_a_pack_as_absent(self, unreachable: list[PackStore]) -> None:
        for store in unreachable:
            for call in every_call(store):
                with pytest.raises(errors.StoreUnavailable):
                    call()


class ThroughFaults(PackStoreContract):
    """The wrapper keeps the contract while no fault is set."""

    @pytest.fixture
    def store(self, url: str) -> Iterator[PackStore]:
        with FaultyStore(store_from_url(url)) as store:
            yield store

    def test_a_failed_put_leaves_nothing_and_the_next_succeeds(self, store: FaultyStore) -> None:
        store.fail("put", nth=2)
        keys = [new_key() for _ in range(3)]
        put(store, keys[0], b"a")
        with pytest.raises(errors.StoreUnavailable):
            put(store, keys[1], b"b")
        put(store, keys[2], b"c")
        assert [found.key for found in store.list()] == sorted([keys[0], keys[2]])
        assert store.open_packs == 0

    def test_a_put_whose_reply_was_lost_is_whole(self, store: FaultyStore) -> None:
        store.lose_reply("put")
        key = new_key()
        with pytest.raises(errors.StoreUnavailable):
            put(store, key, b"landed")
        assert store.read(key, 0, 6) == b"landed"

    def test_a_short_read_is_an_error(self, store: FaultyStore) -> None:
        store.short_read(nth=2)
        key = new_key()
        put(store, key, b"0123456789")
        assert store.read(key, 2, 3) == b"234"
        with pytest.raises(PackTruncated):
            store.read(key, 2, 3)

    def test_an_injected_fault_that_is_not_hit_fails_its_test(self, url: str) -> None:
        faulty = FaultyStore(store_from_url(url))
        faulty.fail("put", nth=3)
        with pytest.raises(AssertionError, match="put 3"):
            faulty.assert_hit()
