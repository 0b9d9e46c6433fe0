"""Target 12: what it costs to be there at all: import, start, idle memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from tests.bench import memory
from tests.bench.bench import Bench, Place
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import compare
from tests.bench.sides import mlflow_python, mlflow_server, modelyard_server

_SETTLE_SECONDS = 2.0
IMPORT = Target("12", "import", "s", "import mlflow", Bound("at_most", 1 / 8), Bound("value", 0.2))
START = Target(
    "12", "server start to ready", "s", "mlflow server", Bound("at_most", 1 / 10), Bound("value", 1.2)
)
MEMORY = Target(
    "12", "server idle memory", "MB", "mlflow server", Bound("at_most", 1 / 20), Bound("value", 100)
)


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """The first turn makes the databases; the ones that count start on what is there."""
    settle = place.size(quick=_SETTLE_SECONDS, full=_SETTLE_SECONDS, tiny=0.1)
    rounds = place.size(quick=3, full=15)

    def import_peer(_: int) -> float:
        place.require_peers()
        return _import(mlflow_python(), "mlflow", folder)

    yield compare(
        IMPORT,
        rounds,
        lambda _: _import(sys.executable, "modelyard", folder),
        import_peer,
    )
    held: dict[str, list[float]] = {"ours": [], "peer": []}

    def start_ours(_: int) -> float:
        with modelyard_server(folder / "modelyard") as side:
            time.sleep(settle)
            held["ours"].append(memory.held(side.server.pid))
            return side.server.ready

    def start_peer(_: int) -> float:
        place.require_peers()
        with mlflow_server(folder / "mlflow") as side:
            time.sleep(settle)
            held["peer"].append(memory.held(side.server.pid))
            return side.server.ready

    yield compare(START, place.size(quick=1, full=5), start_ours, start_peer)
    yield Row(MEMORY, held["ours"][1:], held["peer"][1:])


def _import(python: str | Path, name: str, folder: Path) -> float:
    start = perf_counter()
    subprocess.run([str(python), "-c", f"import {name}"], check=True, cwd=folder)
    return perf_counter() - start


BENCH = Bench("starting", (IMPORT, START, MEMORY), measure)
