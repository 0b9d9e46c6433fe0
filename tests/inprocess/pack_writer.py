"""A writer of packs on real stores, with its two transactions kept in memory."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelyard.contract.chunking import Chunk
from modelyard_server import failpoints
from modelyard_server.packs import PackStore, pack_key, store_from_url
from modelyard_server.packs.builder import PackedChunk
from modelyard_server.packs.writer import PackWriter
from tests.inprocess.faulty_store import FaultyStore
from tests.parts.s3 import S3Server

KIB = 1 << 10
MIB = 1 << 20
ENTITY = 7
WAIT = 20.0

RunWriter = Callable[..., None]
"""(test, **options of the writer): runs `test(writer)` on an event loop."""

Message = tuple[Sequence[Chunk], bytes]


def chunk(data: bytes) -> Chunk:
    return Chunk(hashlib.sha256(data).digest(), len(data))


def message(*sizes: int) -> Message:
    parts = [random.randbytes(size) for size in sizes]
    return [chunk(part) for part in parts], b"".join(parts)


@dataclass
class Ledger:
    """The two transactions, kept in memory: a writer with no database behind it."""

    writing: set[str] = field(default_factory=set)
    packs: dict[str, int] = field(default_factory=dict)
    chunks: dict[bytes, tuple[str, PackedChunk]] = field(default_factory=dict)
    errors: dict[int, Exception] = field(default_factory=dict)
    """By number of the publication, from 1: what it raises."""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, upload: str) -> str:
        with self.lock:
            pack_id = f"pack-{next(self.numbers)}"
            self.writing.add(pack_id)
            return pack_id

    def publish(self, upload: str, pack_id: str, size: int, chunks: Sequence[PackedChunk]) -> None:
        with self.lock:
            if error := self.errors.pop(len(self.packs) + 1, None):
                raise error
            self.writing.remove(pack_id)
            self.packs[pack_id] = size
            self.chunks.update({packed.digest: (pack_id, packed) for packed in chunks})

    def read(self, store: PackStore, wanted: Chunk) -> bytes:
        pack_id, packed = self.chunks[wanted.digest]
        assert packed.size == wanted.size
        return store.read(pack_key(ENTITY, pack_id), packed.offset, packed.size)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture(params=["disk", "minio"])
def pack_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FaultyStore]:
    """One store that holds an open pack's bytes in memory, one that does not; no pack is left open."""
    if request.param == "disk":
        url = str(tmp_path / "store")
    else:
        server: S3Server = request.getfixturevalue("minio_server")
        url = server.url(server.new_bucket())
    with FaultyStore(store_from_url(url)) as faulty:
        yield faulty
    assert faulty.open_packs == 0
    if request.param == "disk":
        assert os.listdir(tmp_path / "store" / "tmp") == []


@pytest.fixture
def writer_pools() -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor]]:
    with ThreadPoolExecutor(4) as store_pool, ThreadPoolExecutor(2) as database_pool:
        yield store_pool, database_pool


@pytest.fixture
def armed() -> Iterator[Callable[[str], None]]:
    yield failpoints.arm
    failpoints.arm("")


@pytest.fixture
def run_writer(
    pack_store: FaultyStore, ledger: Ledger, writer_pools: tuple[ThreadPoolExecutor, ThreadPoolExecutor]
) -> RunWriter:
    """Runs a test on an event loop with a writer, then asserts that the budget is whole again."""

    def run_it(test: Callable[[PackWriter], Awaitable[None]], **options: float) -> None:
        async def whole() -> None:
            settings: dict[str, float] = {"pack_bytes": 4 * MIB, "idle_seconds": 60.0} | options
            writer = PackWriter(
                pack_store,
                ledger.begin,
                ledger.publish,
                store_pool=writer_pools[0],
                database_pool=writer_pools[1],
                **settings,  # type: ignore[arg-type] # numbers all
            )
            async with asyncio.timeout(WAIT):
                await test(writer)
                await writer.drain()
            assert writer.budget.free == writer.budget.total
            assert writer.sealing == 0

        asyncio.run(whole())

    return run_it


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def sent(messages: Sequence[Message]) -> AsyncIterator[Message]:
    for one in messages:
        yield one


async def collect(counts: AsyncIterator[int], into: list[int]) -> None:
    async for count in counts:
        into.append(count)  # noqa: PERF401 # what came before an error is kept, too
