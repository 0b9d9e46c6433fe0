"""The pack writer when senders, the store or the database fail: no false acknowledgement, and no leak."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from modelyard import errors
from modelyard.contract.chunking import MAXIMUM_BYTES, Chunk
from modelyard.contract.limits import UPLOAD_MESSAGE_DATA_BYTES
from modelyard_server import failpoints
from modelyard_server.packs.writer import PackWriter
from tests.inprocess.faulty_store import FaultyStore
from tests.inprocess.pack_writer import (
    ENTITY,
    MIB,
    Ledger,
    Message,
    RunWriter,
    chunk,
    collect,
    message,
    sent,
    until,
)


def test_a_wrong_digest_names_the_chunk_and_stores_nothing_of_its_message(
    run_writer: RunWriter, pack_store: FaultyStore, ledger: Ledger
) -> None:
    async def test(writer: PackWriter) -> None:
        chunks, data = message(10, 20, 30)
        wrong = data[:40] + bytes([data[40] ^ 1]) + data[41:]
        async with writer.stream("upload", ENTITY) as stream:
            await stream.append(*message(50))
            await stream.append(chunks, wrong)
            with pytest.raises(errors.DigestMismatch) as caught:
                await stream.close()
            with pytest.raises(errors.DigestMismatch):
                await stream.append(*message(10))
        assert [name for name, _ in caught.value.violations] == ["chunks[2]"]
        assert not ledger.chunks.keys() & {known.digest for known in chunks}

    run_writer(test)
    assert list(ledger.packs.values()) == [50]
    assert [found.size for found in pack_store.list()] == [50]


@pytest.mark.parametrize(
    ("chunks", "data", "where"),
    [
        ([], b"a", "data"),
        ([chunk(b"abc")], b"abcd", "data"),
        ([chunk(b"abc"), chunk(b"d")], b"abc", "data"),
        ([chunk(b"a"), Chunk(b"short", 2)], b"abc", "chunks[1].digest"),
        ([Chunk(b"\0" * 32, 0)], b"", "chunks[0].size_bytes"),
        ([Chunk(b"\0" * 32, -1), Chunk(b"\0" * 32, 4)], b"abc", "chunks[0].size_bytes"),
        ([Chunk(b"\0" * 32, MAXIMUM_BYTES + 1)], bytes(MAXIMUM_BYTES + 1), "chunks[0].size_bytes"),
        ([Chunk(b"\0" * 32, UPLOAD_MESSAGE_DATA_BYTES + 1)], bytes(UPLOAD_MESSAGE_DATA_BYTES + 1), "data"),
    ],
)
def test_a_malformed_message_is_refused_with_its_field(
    run_writer: RunWriter, chunks: list[Chunk], data: bytes, where: str
) -> None:
    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            with pytest.raises(errors.InvalidField) as caught:
                await stream.append(chunks, data)
        assert [name for name, _ in caught.value.violations] == [where]

    run_writer(test)


@pytest.mark.parametrize("lost", ["fail", "lose_reply"])
def test_a_put_that_fails_ends_the_stream_and_acknowledges_nothing_after(
    run_writer: RunWriter, pack_store: FaultyStore, ledger: Ledger, lost: str
) -> None:
    getattr(pack_store, lost)("put", nth=2)
    counts: list[int] = []

    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            with pytest.raises(errors.StoreUnavailable):
                await collect(stream.exchange(sent([message(2 * MIB) for _ in range(12)])), counts)

    run_writer(test, pack_bytes=2 * MIB)
    assert set(counts) <= {1}
    assert len(ledger.writing) >= 1


def test_a_fenced_pack_is_not_acknowledged(run_writer: RunWriter, ledger: Ledger) -> None:
    ledger.errors[1] = errors.RetryTransaction("fenced")
    counts: list[int] = []

    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            await stream.append(*message(1000))
            with pytest.raises(errors.RetryTransaction):
                await stream.close()
            assert stream.durable == 0
            with pytest.raises(errors.RetryTransaction):
                await collect(stream.acknowledgements(), counts)
        assert counts == []

    run_writer(test)
    assert ledger.chunks == {}


def test_what_a_sender_sent_before_it_broke_off_is_kept(
    run_writer: RunWriter, pack_store: FaultyStore, ledger: Ledger
) -> None:
    messages = [message(MIB), message(MIB)]

    async def breaking() -> AsyncIterator[Message]:
        for one in messages:
            yield one
        raise ConnectionResetError

    async def test(writer: PackWriter) -> None:
        counts: list[int] = []
        async with writer.stream("upload", ENTITY) as stream:
            with pytest.raises(ConnectionResetError):
                await collect(stream.exchange(breaking()), counts)
        assert counts == []

    run_writer(test)
    for chunks, data in messages:
        assert ledger.read(pack_store, chunks[0]) == data


def test_what_came_before_a_cancellation_is_kept(
    run_writer: RunWriter, pack_store: FaultyStore, ledger: Ledger
) -> None:
    messages = [message(MIB) for _ in range(3)]

    async def silent_after() -> AsyncIterator[Message]:
        for one in messages:
            yield one
        await asyncio.Event().wait()

    async def use(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            await collect(stream.exchange(silent_after()), [])

    async def test(writer: PackWriter) -> None:
        using = asyncio.create_task(use(writer))
        await until(lambda: pack_store.calls["append"] == 3)
        using.cancel()
        await asyncio.wait([using])

    run_writer(test)
    assert all(ledger.read(pack_store, chunks[0]) == data for chunks, data in messages)


def test_a_pack_that_the_store_took_only_a_part_of_is_not_kept(
    run_writer: RunWriter, pack_store: FaultyStore, ledger: Ledger
) -> None:
    pack_store.fail("append", nth=2, error=errors.DiskFull("full"))

    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            await stream.append(*message(1000))
            await stream.append(*message(1000))
            with pytest.raises(errors.DiskFull):
                await stream.close()

    run_writer(test)
    assert list(pack_store.list()) == []
    assert (ledger.writing, ledger.packs) == (set(), {})


def test_a_cancelled_stream_leaves_no_open_pack(run_writer: RunWriter, pack_store: FaultyStore) -> None:
    release = pack_store.hold("append", 2)

    async def use(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            while True:
                await stream.append(*message(MIB))

    async def test(writer: PackWriter) -> None:
        using = asyncio.create_task(use(writer))
        await until(lambda: pack_store.calls["append"] == 2)
        using.cancel()
        release.set()
        await asyncio.wait([using])
        assert using.cancelled()

    run_writer(test)


def test_a_client_that_stops_reading_acknowledgements_ends_the_upload(
    run_writer: RunWriter, pack_store: FaultyStore
) -> None:
    async def falling_silent() -> AsyncIterator[Message]:
        for _ in range(5):
            yield message(MIB)
        await asyncio.Event().wait()

    async def test(writer: PackWriter) -> None:
        before = asyncio.all_tasks()
        async with writer.stream("upload", ENTITY) as stream:
            counts = stream.exchange(falling_silent())
            assert await anext(counts) > 0
        await writer.drain()
        await until(lambda: asyncio.all_tasks() <= before)

    run_writer(test)
    assert pack_store.calls["put"] >= 1


def test_a_pack_that_is_being_sealed_is_stored_after_its_stream_ends(
    run_writer: RunWriter, pack_store: FaultyStore, ledger: Ledger
) -> None:
    release = pack_store.hold("put", 1)

    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            await stream.append(*message(1000))
            closing = asyncio.create_task(stream.close())
            await until(lambda: pack_store.calls["put"] == 1)
            closing.cancel()
        release.set()

    run_writer(test)
    assert list(ledger.packs.values()) == [1000]


@pytest.mark.parametrize(
    ("failpoint", "stored", "published"),
    [
        ("writer.before_intent", 0, 0),
        ("writer.before_put", 0, 0),
        ("writer.after_put", 1, 0),
        ("writer.after_publish", 1, 1),
    ],
)
def test_failpoints_are_hit_between_the_steps(
    run_writer: RunWriter,
    pack_store: FaultyStore,
    ledger: Ledger,
    armed: Callable[[str], None],
    failpoint: str,
    stored: int,
    published: int,
) -> None:
    armed(f"{failpoint}=error(STORE_UNAVAILABLE)")

    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            await stream.append(*message(1000))
            with pytest.raises(errors.StoreUnavailable, match=failpoint):
                await stream.close()
            assert stream.durable == 0

    run_writer(test)
    assert failpoints.hits(failpoint) == 1
    assert len(list(pack_store.list())) == stored
    assert len(ledger.packs) == published
