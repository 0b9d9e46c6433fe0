"""Target 16: 200 clients watch a busy project; when does the last of them know?"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc

from modelyard.v1 import alias_pb2
from modelyard.v1.alias_pb2_grpc import AliasServiceStub
from modelyard.v1.event_pb2 import EVENT_TYPE_ALIAS_ADDED, WatchEventsRequest
from modelyard.v1.event_pb2_grpc import EventServiceStub
from tests.bench import sides
from tests.bench.bench import Bench, Place
from tests.bench.results import Bound, Row, Target

WATCHERS = 200
PAUSE = 0.05
"""Seconds between two writes."""
ARRIVAL = Target(
    "16",
    "200 watch a busy project, write to arrival: p99",
    "ms",
    "1 watches",
    Bound("value", 250),
    Bound("value", 50),
)
_PROJECT, _NAME = "model-registry", "watched"


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """The watches are streams of one connection, and so share this process."""
    side = place.modelyard()
    writes, rounds = place.size(quick=40, full=200, tiny=4), place.size(quick=2, full=5)
    with sides.modelyard_worker(side, folder, embedded=False) as own:
        own.call("start")
        own.call("make_model", folder=str(folder), name=_NAME, versions=1)
    many = [asyncio.run(_p99(side.address, WATCHERS, writes)) for _ in range(rounds)]
    one = [asyncio.run(_p99(side.address, 1, writes)) for _ in range(rounds)]
    yield Row(ARRIVAL, many, one)


async def _p99(address: str, watchers: int, writes: int) -> float:
    """Milliseconds from the reply to a write until its event arrives."""
    arrived: list[float] = []
    written: dict[tuple[str, bool], float] = {}

    async def watch(channel: grpc.aio.Channel, ready: asyncio.Event) -> None:
        seen = 0
        request = WatchEventsRequest(project=_PROJECT)
        async for reply in EventServiceStub(channel).WatchEvents(request):
            now = perf_counter()
            ready.set()
            keys = [(event.alias, event.type == EVENT_TYPE_ALIAS_ADDED) for event in reply.events]
            # It may arrive before the reply.
            arrived.extend(now - written.get(key, now) for key in keys)
            seen += len(reply.events)
            if seen >= writes:
                return

    async with grpc.aio.insecure_channel(address) as channel:
        signals = [asyncio.Event() for _ in range(watchers)]
        watching = [asyncio.create_task(watch(channel, ready)) for ready in signals]
        await asyncio.gather(*(ready.wait() for ready in signals))
        for number in range(writes):
            # It comes, and with the next write it goes: one event each.
            alias, added = f"bench-{number // 2}", number % 2 == 0
            change: dict[str, Any] = {"version": "v0"} if added else {"remove": True}
            update = alias_pb2.AliasUpdate(alias=alias, **change)
            request = alias_pb2.UpdateAliasesRequest(ref=f"{_PROJECT}/{_NAME}", updates=[update])
            await AliasServiceStub(channel).UpdateAliases(request)
            written[alias, added] = perf_counter()
            await asyncio.sleep(PAUSE)
        await asyncio.gather(*watching)
    return statistics.quantiles(arrived, n=100)[98] * 1000


BENCH = Bench("watchers", (ARRIVAL,), measure)
