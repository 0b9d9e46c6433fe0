"""Target 6: what it costs to log a folder again whose files did not change."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.bench import Bench, Place, say
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import MIB, random_file
from tests.bench.sides import modelyard_server, modelyard_worker

_SETTLE_SECONDS = 0.2  # files written a moment ago are read again, whatever their times say
_AGAIN = 5


def _target(what: str) -> Target:
    return Target(
        "6",
        f"log an unchanged folder again: {what}",
        "s",
        "the first time",
        Bound("at_most", 0.1),
        Bound("at_most", 0.02),
    )


LARGE, SMALL = _target("4 large files"), _target("2,000 files of 64 KiB")


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """In turn a new folder, logged once, then several times (the median counts); the first turn warms up."""
    rounds = place.size(quick=2, full=5)
    large = place.size(quick=64, full=256) * MIB
    many = place.size(quick=2_000, full=2_000)
    with (
        modelyard_server(folder / "server") as server,
        modelyard_worker(server, folder / "client", embedded=True) as client,
    ):
        client.call("start")
        for target, count, size in ((LARGE, 4, large), (SMALL, many, MIB // 16)):
            first: list[float] = []
            again: list[float] = []
            for turn in range(rounds + 1):
                say(f"unchanged-folder: {count} files, turn {turn} of {rounds}")
                path = folder / f"{count}-{turn}"
                for number in range(count):
                    random_file(path / f"{number:04}.bin", size)
                time.sleep(_SETTLE_SECONDS)
                taken = [
                    float(client.call("log", path=str(path), name=f"unchanged-{count}-{turn}")["seconds"])
                    for _ in range(1 + _AGAIN)
                ]
                shutil.rmtree(path)
                if turn > 0:
                    first.append(taken[0])
                    again.append(median(taken[1:]))
            yield Row(target, again, first)


BENCH = Bench("unchanged-folder", (LARGE, SMALL), measure)
