"""Target 10: resolving an alias of a registered model, from 1, 8 and 64 connections."""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.bench import Bench, Place
from tests.bench.children import Worker, working
from tests.bench.results import Bound, NotMeasured, Row, Target
from tests.bench.rounds import compare


def _rate(connections: int, at_least: float, aim: float) -> Target:
    clients = "client" if connections == 1 else "clients"
    what = f"resolve an alias, {connections} {clients}"
    return Target("10", what, "calls/s", "MLflow's REST", Bound("times", at_least), Bound("times", aim))


RATES = {1: _rate(1, 15, 30), 8: _rate(8, 5, 10), 64: _rate(64, 5, 10)}
SLOWEST = Target(
    "10",
    "resolve an alias, 64 clients: p99",
    "ms",
    "MLflow's REST",
    Bound("at_most", 1 / 5),
    Bound("at_most", 1 / 15),
)
_NAME, _ALIAS = "resolved", "production"


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """The clients are threads and tasks of two processes at most: they share the machine with the servers."""
    seconds = place.size(quick=2.0, full=10.0, tiny=0.1)
    rounds = place.size(quick=2, full=3)
    with place.clients(folder) as (own, peer), contextlib.ExitStack() as stack:
        own.call("make_model", folder=str(folder), name=_NAME, versions=3)
        with contextlib.suppress(NotMeasured):
            peer.call("make_model", name=_NAME, versions=3)
        callers = [stack.enter_context(working(sys.executable, "resolving", folder)) for _ in range(2)]
        ours = {"address": place.modelyard().address, "ref": f"model-registry/{_NAME}:{_ALIAS}"}
        slowest: dict[str, list[float]] = {"over_grpc": [], "over_http": []}

        def rate(call: str, connections: int, target: dict[str, Any]) -> float:
            taken = _call(callers, call, connections, seconds, target)
            if connections == 64:
                slowest[call].append(statistics.quantiles(taken, n=100)[98] * 1000)
            return len(taken) / seconds

        for connections, target in RATES.items():

            def over_grpc(_: int, connections: int = connections) -> float:
                return rate("over_grpc", connections, ours)

            def over_http(_: int, connections: int = connections) -> float:
                theirs = {"address": place.mlflow().address, "name": _NAME, "alias": _ALIAS}
                return rate("over_http", connections, theirs)

            yield compare(target, rounds, over_grpc, over_http)
        yield Row(SLOWEST, slowest["over_grpc"][1:], slowest["over_http"][1:])


def _call(
    callers: list[Worker], call: str, connections: int, seconds: float, target: dict[str, Any]
) -> list[float]:
    """What each request took, in seconds."""
    used = callers[: min(len(callers), connections)]
    for caller in used:
        caller.send(call, connections=connections // len(used), seconds=seconds, **target)
    return [one for caller in used for one in caller.receive()]


BENCH = Bench("resolve", (*RATES.values(), SLOWEST), measure)
