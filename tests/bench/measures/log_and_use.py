"""Targets 1, 2 and 4: one large model up and down, embedded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from tests.bench.bench import Bench, Place
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import MIB, checked, compare, interleaved, random_file

LOG = Target("1", "log a model", "GB/s", "MLflow", Bound("times", 3), Bound("times", 6))
LOG_COPY = Target("2", "log a model", "GB/s", "cp + fsync", Bound("times", 0.25), Bound("times", 0.5))
USE = Target("4", "use a model, cold cache", "GB/s", "MLflow", Bound("times", 4), Bound("times", 6))


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """Each turn logs a file that neither side has seen; then each of them is used."""
    size = place.size(quick=256, full=1024) * MIB
    rounds = place.size(quick=3, full=5)
    files = [folder / f"model-{turn}.bin" for turn in range(rounds + 1)]
    made: dict[str, dict[int, str]] = {"ours": {}, "peer": {}}

    def speed(seconds: float) -> float:
        return size / seconds / 1e9

    with place.clients(folder) as (own, peer):

        def log_ours(turn: int) -> float:
            answer = own.call("log", path=str(files[turn]), name=f"{folder.name}-{turn}")
            made["ours"][turn] = answer["made"]
            return speed(answer["seconds"])

        def log_peer(turn: int) -> float:
            answer = peer.call("log", path=str(files[turn]))
            made["peer"][turn] = answer["made"]
            return speed(answer["seconds"])

        def copy(turn: int) -> float:
            return speed(_copy(files[turn], folder / "copy.bin"))

        def use_ours(turn: int) -> float:
            answer = own.call("use", made=made["ours"][turn], into=str(folder / f"ours-{turn}"))
            return speed(checked(answer, files[turn]))

        def use_peer(turn: int) -> float:
            answer = peer.call("use", made=made["peer"].get(turn), into=str(folder / f"peer-{turn}"))
            return speed(checked(answer, files[turn]))

        ours, theirs, copies = interleaved(
            rounds, log_ours, log_peer, copy, prepare=lambda turn: random_file(files[turn], size), moved=size
        )
        yield Row(LOG, ours, theirs)
        yield Row(LOG_COPY, ours, copies)
        yield compare(USE, rounds, use_ours, use_peer, moved=size)


def _copy(source: Path, target: Path) -> float:
    target.unlink(missing_ok=True)
    start = perf_counter()
    subprocess.run(["cp", "--reflink=never", str(source), str(target)], check=True)
    with target.open("rb") as copied:
        os.fsync(copied.fileno())
    return perf_counter() - start


BENCH = Bench("log-and-use", (LOG, LOG_COPY, USE), measure)
