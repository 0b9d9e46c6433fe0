"""Target 16: 50 clients watch a run that logs; when does the last of them have a row?"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, time

import grpc

from modelyard.v1.metric_pb2 import LogMetricsRequest, MetricBatch, MetricColumn
from modelyard.v1.metric_pb2_grpc import MetricServiceStub
from modelyard.v1.run_pb2 import CreateRunRequest, Run, WatchedRun, WatchRunsRequest
from modelyard.v1.run_pb2_grpc import RunServiceStub
from tests.bench.bench import Bench, Place
from tests.bench.results import Bound, Row, Target

WATCHERS, SCALARS = 50, 10
PAUSE = 0.05
"""Seconds between two rows."""
ARRIVAL = Target(
    "16",
    "50 watch a run that logs, write to arrival: p99",
    "ms",
    "1 watches",
    Bound("value", 1000),
    Bound("value", 100),
)


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """The watches are streams of one connection, and so share this process."""
    address = place.modelyard().address
    rows, rounds = place.size(quick=40, full=200, tiny=4), place.size(quick=2, full=5)
    many = [asyncio.run(_p99(address, WATCHERS, rows)) for _ in range(rounds)]
    one = [asyncio.run(_p99(address, 1, rows)) for _ in range(rounds)]
    yield Row(ARRIVAL, many, one)


async def _p99(address: str, watchers: int, rows: int) -> float:
    """Milliseconds from the reply to a batch of one row until the row arrives."""
    arrived: list[float] = []
    written: dict[int, float] = {}

    async def watch(channel: grpc.aio.Channel, run_id: str, ready: asyncio.Event) -> None:
        request = WatchRunsRequest(runs=[WatchedRun(run_id=run_id)], history=True)
        async for message in RunServiceStub(channel).WatchRuns(request):
            now = perf_counter()
            ready.set()
            steps = [step for batch in message.history for step in batch.steps]
            # A row may arrive before the reply to its batch.
            arrived.extend(now - written.get(step, now) for step in steps)
            if rows - 1 in steps:
                return

    async with grpc.aio.insecure_channel(address) as channel:
        run = (await RunServiceStub(channel).CreateRun(CreateRunRequest(run=Run(project="watched")))).run
        signals = [asyncio.Event() for _ in range(watchers)]
        watching = [asyncio.create_task(watch(channel, run.id, ready)) for ready in signals]
        await asyncio.gather(*(ready.wait() for ready in signals))
        for step in range(rows):
            columns = [MetricColumn(key=f"metric-{number}", doubles=[step]) for number in range(SCALARS)]
            batch = MetricBatch(steps=[step], timestamps=[time()], columns=columns)
            request = LogMetricsRequest(run_id=run.id, writer="bench", sequence=step + 1, batch=batch)
            await MetricServiceStub(channel).LogMetrics(request)
            written[step] = perf_counter()
            await asyncio.sleep(PAUSE)
        await asyncio.gather(*watching)
    return statistics.quantiles(arrived, n=100)[98] * 1000


BENCH = Bench("run watchers", (ARRIVAL,), measure)
