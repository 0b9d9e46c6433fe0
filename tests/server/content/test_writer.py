"""The writer of packs: what it acknowledges is durable and published, in order, within its budget."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

from modelyard_server.packs.builder import PackedChunk
from modelyard_server.packs.writer import PackWriter
from tests.inprocess.faulty_store import FaultyStore
from tests.inprocess.pack_writer import ENTITY, KIB, MIB, Ledger, RunWriter, chunk, message, sent, until


def test_every_acknowledged_chunk_can_be_read(
    run_writer: RunWriter, pack_store: FaultyStore, ledger: Ledger
) -> None:
    messages = [message(random.randint(1, 900 * KIB), random.randint(1, 900 * KIB)) for _ in range(20)]

    async def test(writer: PackWriter) -> None:
        durable = 0
        order = [chunk for chunks, _ in messages for chunk in chunks]
        async with (
            writer.stream("upload", ENTITY) as stream,
            aclosing(stream.exchange(sent(messages))) as counts,
        ):
            async for count in counts:
                assert count > durable
                for known in order[durable:count]:
                    assert known.digest in ledger.chunks
                durable = count
        assert durable == len(order)

    run_writer(test)
    for chunks, data in messages:
        start = 0
        for known in chunks:
            assert ledger.read(pack_store, known) == data[start : start + known.size]
            start += known.size
    assert ledger.writing == set()


def test_packs_are_closed_before_they_exceed_their_size(
    run_writer: RunWriter, pack_store: FaultyStore, ledger: Ledger
) -> None:
    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            for _ in range(9):
                await stream.append(*message(MIB))
            await stream.close()
            assert stream.durable == 9

    run_writer(test)
    assert sorted(ledger.packs.values()) == [MIB, 4 * MIB, 4 * MIB]
    assert sorted(found.size for found in pack_store.list()) == [MIB, 4 * MIB, 4 * MIB]


def test_a_pause_seals_the_open_pack(run_writer: RunWriter, ledger: Ledger) -> None:
    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            await stream.append(*message(100, 200))
            await until(lambda: stream.durable == 2)
            await stream.append(*message(300))
            await until(lambda: stream.durable == 3)

    run_writer(test, idle_seconds=0.01)
    assert list(ledger.packs.values()) == [300, 300]


def test_a_pack_takes_no_more_when_it_is_old(run_writer: RunWriter, ledger: Ledger) -> None:
    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            while not stream.durable:  # without a pause that would seal it
                await stream.append(*message(100))
                await asyncio.sleep(0.005)

    run_writer(test, age_seconds=0.05)
    assert min(ledger.packs.values()) < MIB


def test_acknowledgements_are_in_order_when_packs_are_not(
    run_writer: RunWriter, pack_store: FaultyStore, ledger: Ledger
) -> None:
    release = pack_store.hold("put", 1)

    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            for _ in range(3):
                await stream.append(*message(2 * MIB))
            await stream.append(*message(2 * MIB))
            closing = asyncio.create_task(stream.close())
            await until(lambda: len(ledger.packs) == 1)
            await asyncio.sleep(0.05)
            assert stream.durable == 0
            release.set()
            await closing
            assert stream.durable == 4

    run_writer(test)
    assert len(ledger.packs) == 2


def test_two_packs_of_a_stream_are_in_flight_and_no_third(
    run_writer: RunWriter, pack_store: FaultyStore
) -> None:
    releases = [pack_store.hold("put", 1), pack_store.hold("put", 2)]

    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            for _ in range(12):
                await stream.append(*message(MIB))
            waiting = asyncio.create_task(stream.append(*message(MIB)))
            await until(lambda: pack_store.calls["put"] == 2)
            await asyncio.sleep(0.05)
            assert not waiting.done()
            assert writer.sealing == 2
            releases[0].set()
            await waiting
            releases[1].set()
            await stream.close()
            assert stream.durable == 13

    run_writer(test)


def test_chunks_that_repeat_are_counted_and_published_once(run_writer: RunWriter, ledger: Ledger) -> None:
    async def test(writer: PackWriter) -> None:
        same = random.randbytes(1000)
        async with writer.stream("upload", ENTITY) as stream:
            await stream.append([chunk(same), chunk(same)], same + same)
            await stream.append([chunk(same)], same)
            await stream.close()
            assert stream.durable == 3
        assert ledger.chunks == {chunk(same).digest: ("pack-1", PackedChunk(chunk(same).digest, 0, 1000))}

    run_writer(test)


def test_an_empty_message_changes_nothing(run_writer: RunWriter, pack_store: FaultyStore) -> None:
    async def test(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            await stream.append([], b"")
            await stream.close()
            assert stream.durable == 0

    run_writer(test)
    assert pack_store.calls["open"] == 0


def test_many_streams_share_the_budget_and_all_end(
    run_writer: RunWriter, pack_store: FaultyStore, ledger: Ledger
) -> None:
    budget, lowest = 3 * MIB, [3 * MIB]

    async def one(writer: PackWriter) -> None:
        async with writer.stream("upload", ENTITY) as stream:
            for _ in range(6):
                await stream.append(*message(400 * KIB, 400 * KIB))
                lowest[0] = min(lowest[0], writer.budget.free)
            await stream.close()
            assert stream.durable == 12

    async def test(writer: PackWriter) -> None:
        await asyncio.gather(*(one(writer) for _ in range(8)))

    run_writer(test, budget_bytes=budget)
    assert len(ledger.chunks) == 96
    assert 0 <= lowest[0] < budget
