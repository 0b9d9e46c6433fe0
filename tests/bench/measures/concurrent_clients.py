"""Target 15: 64 clients log and link 20 models of 5 MiB each: none is lost, and nobody is blocked."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import grpc

from modelyard.v1.model_artifact_pb2 import GetModelArtifactVersionRequest
from modelyard.v1.model_artifact_pb2_grpc import ModelArtifactServiceStub
from tests.bench import sides
from tests.bench.bench import Bench, Place
from tests.bench.children import ChildFailed
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import MIB, compare
from tests.clients import concurrent_clients

SIZE = 5 * MIB
PROCESSES = 4
TOGETHER = Target(
    "15",
    "log and link models of 5 MiB, 64 clients",
    "MB/s",
    "1 client",
    Bound("times", 0.7),
    Bound("times", 1.5),
)
MEANWHILE = Target(
    "15", "resolve an alias meanwhile: p99", "ms", "1 client logs", Bound("value", 1000), Bound("value", 250)
)
_NAME = "served-to-all"


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """The clients are threads of four processes, each with a connection of its own; one more resolves."""
    side = place.modelyard()
    clients, models = place.size(quick=16, full=64, tiny=2), place.size(quick=5, full=20)
    slowest: dict[int, list[float]] = {clients: [], 1: []}
    with sides.modelyard_worker(side, folder, embedded=False) as own:
        own.call("start")
        own.call("make_model", folder=str(folder), name=_NAME, versions=1)

    def log_and_link(turn: int, clients: int) -> float:
        with _resolving(side.address) as taken:
            seconds = _play(side.address, f"clients-{clients}-{turn}", clients, models)
        slowest[clients].append(statistics.quantiles(taken, n=100)[98] * 1000)
        return clients * models * SIZE / seconds / 1e6

    yield compare(TOGETHER, 1, lambda turn: log_and_link(turn, clients), lambda turn: log_and_link(turn, 1))
    yield Row(MEANWHILE, slowest[clients][1:], slowest[1][1:])


def _play(address: str, project: str, clients: int, models: int) -> float:
    """The seconds until all have made theirs. Raises ChildFailed when a link is not there."""
    url, processes = f"grpc://{address}", min(clients, PROCESSES)
    sizes = {"clients": clients, "models": models, "size": SIZE, "processes": processes}
    try:
        with concurrent_clients.ready(url, project, **sizes) as started:
            start = perf_counter()
            made = started.run()
            seconds = perf_counter() - start
    except RuntimeError as error:
        raise ChildFailed(str(error)) from error
    if sorted(one.link for one in made) != list(range(clients * models)):
        raise ChildFailed(f"of {clients * models} links {len(made)} were made, or numbers are missing")
    return seconds


@contextmanager
def _resolving(address: str) -> Iterator[list[float]]:
    """Resolves an alias again and again until the block ends; what each call took, in seconds."""
    taken: list[float] = []
    stop = threading.Event()
    request = GetModelArtifactVersionRequest(ref=f"model-registry/{_NAME}:production")

    def resolve() -> None:
        with grpc.insecure_channel(address) as channel:
            call = ModelArtifactServiceStub(channel).GetModelArtifactVersion
            while not stop.is_set():
                start = perf_counter()
                call(request)
                taken.append(perf_counter() - start)

    thread = threading.Thread(target=resolve)
    thread.start()
    try:
        yield taken
    finally:
        stop.set()
        thread.join()


BENCH = Bench("clients", (TOGETHER, MEANWHILE), measure)
