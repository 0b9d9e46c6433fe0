"""Short reads have a thread of their own: each caller gets its answer, and none waits for long reads."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from modelyard_server.rpc.dispatch.executors import SQLITE_READERS, Executors
from modelyard_server.rpc.dispatch.lookup_thread import BATCH, LookupThread
from modelyard_server.rpc.dispatch.transactions import Transactions
from tests.inprocess.databases import sqlite_database

T = TypeVar("T")
SECONDS = 30.0
"""After which a test that waits for something fails."""


@pytest.fixture
def lane() -> Iterator[LookupThread]:
    lane = LookupThread("lookups")
    yield lane
    lane.close()


def _within(act: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        return await asyncio.wait_for(act(), SECONDS)

    return asyncio.run(run())


def test_each_caller_gets_its_own_result_or_error(lane: LookupThread) -> None:
    def work(number: int) -> int:
        if number % 7 == 0:
            raise LookupError(number)
        return number

    async def ask() -> list[object]:
        asked = (lane.run(functools.partial(work, number)) for number in range(5 * BATCH))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    for number, answer in enumerate(_within(ask)):
        assert repr(answer) == (f"LookupError({number})" if number % 7 == 0 else str(number))


def test_a_result_does_not_wait_until_a_batch_is_full(lane: LookupThread) -> None:
    async def ask() -> tuple[int, int]:
        return await lane.run(lambda: 1), await lane.run(lambda: 2)

    assert _within(ask) == (1, 2)


def test_a_result_waits_for_at_most_one_batch(lane: LookupThread) -> None:
    answered = threading.Event()

    async def ask() -> bool:
        first = [asyncio.create_task(lane.run(lambda: None)) for _ in range(BATCH)]
        last = asyncio.create_task(lane.run(lambda: answered.wait(SECONDS)))
        await asyncio.gather(*first)
        answered.set()
        return bool(await last)

    assert _within(ask)


def test_cancelled_work_is_not_started(lane: LookupThread) -> None:
    began: list[str] = []
    go = threading.Event()

    async def ask() -> None:
        blocked = asyncio.create_task(lane.run(lambda: go.wait(SECONDS)))
        gone = asyncio.create_task(lane.run(lambda: began.append("gone")))
        kept = asyncio.create_task(lane.run(lambda: began.append("kept")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait({gone})
        go.set()
        await asyncio.gather(blocked, kept)
        assert gone.cancelled()

    _within(ask)
    assert began == ["kept"]


def test_a_short_read_does_not_wait_for_a_long_one(tmp_path: Path) -> None:
    with sqlite_database(tmp_path) as database:
        executors = Executors(is_sqlite=True)
        transactions = Transactions(database, executors)
        go = threading.Event()

        def long(session: Session) -> bool:
            return bool(session.scalar(text("SELECT 1"))) and go.wait(SECONDS)

        async def ask() -> tuple[int, list[bool]]:
            reads = [asyncio.create_task(transactions.read(long)) for _ in range(SQLITE_READERS + 1)]
            await asyncio.sleep(0.1)
            found = await transactions.read(lambda session: session.scalar(text("SELECT 2")), short=True)
            go.set()
            return int(found or 0), await asyncio.gather(*reads)

        assert _within(ask) == (2, [True] * (SQLITE_READERS + 1))
        executors.close()
