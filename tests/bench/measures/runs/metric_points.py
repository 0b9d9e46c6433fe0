"""Target 8: metric points a second, from one client and from eight, and the price of one call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

from tests.bench.bench import Bench, Place
from tests.bench.children import Worker
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import compare
from tests.bench.sides import modelyard_worker

_SCALARS = 10
_CLIENTS = 8
_FEW_CLIENTS = 2
ONE = Target("8", "points logged, 1 client", "points/s", "log_batch", Bound("times", 40), Bound("times", 100))
EIGHT = Target(
    "8", "points logged, 8 clients", "points/s", "log_batch", Bound("times", 20), Bound("times", 50)
)
CALL = Target("8", "one run.log, median", "µs", "in a batch of 1,000", Bound("value", 15), Bound("value", 10))
SLOWEST = Target(
    "8", "run.log, 99th percentile, a busy thread", "µs", "without it", Bound("value", 50), Bound("value", 20)
)


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """Rows of ten scalars: through `run.log` until the run is finished, and in batches of a thousand.

    Eight clients are eight processes here, and eight threads of one process there.
    """
    ours = place.size(quick=10_000, full=50_000)  # rows
    theirs = place.size(quick=100, full=2_000)
    rounds = place.size(quick=2, full=5)

    with place.clients(folder) as (own, peer), contextlib.ExitStack() as stack:

        def more() -> Worker:
            return stack.enter_context(
                modelyard_worker(place.modelyard(), folder / "modelyard", embedded=True)
            )

        def log_ours(clients: list[Worker]) -> float:
            start = perf_counter()
            for client in clients:
                client.send("points", rows=ours, scalars=_SCALARS)
            for client in clients:
                client.receive()
            return len(clients) * ours * _SCALARS / (perf_counter() - start)

        def log_peer(clients: int) -> float:
            seconds = peer.call("points", rows=theirs, scalars=_SCALARS, clients=clients)
            return clients * theirs * _SCALARS / float(seconds)

        def call(_: int, *, busy: bool, figure: str) -> float:
            return float(own.call("log_calls", rows=ours, scalars=_SCALARS, busy=busy)[figure])

        def call_of_peer(_: int) -> float:
            """Microseconds for each row of a batch."""
            return float(peer.call("points", rows=theirs, scalars=_SCALARS, clients=1)) / theirs * 1e6

        yield compare(CALL, rounds, partial(call, busy=False, figure="median"), call_of_peer)
        yield compare(
            SLOWEST,
            rounds,
            partial(call, busy=True, figure="slowest"),
            partial(call, busy=False, figure="slowest"),
        )
        yield compare(ONE, rounds, lambda _: log_ours([own]), lambda _: log_peer(1))
        count = place.size(quick=_CLIENTS, full=_CLIENTS, tiny=_FEW_CLIENTS)
        clients = [own, *(more() for _ in range(count - 1))]
        for client in clients:
            client.call("start")
        yield compare(EIGHT, rounds, lambda _: log_ours(clients), lambda _: log_peer(_CLIENTS))


BENCH = Bench("metrics", (ONE, EIGHT, CALL, SLOWEST), measure)
