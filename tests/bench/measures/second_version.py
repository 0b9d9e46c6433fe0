"""Target 5: what a second version costs, of a model that changed a little."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.bench.bench import Bench, Place, say
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import MIB, level, random_file
from tests.bench.sides import Side, modelyard_server, modelyard_worker


def _bytes(what: str) -> Target:
    return Target(
        "5", f"{what}: bytes stored", "MB", "the file", Bound("at_most", 0.03), Bound("at_most", 0.02)
    )


def _time(what: str) -> Target:
    return Target("5", f"{what}: time", "s", "first version", Bound("at_most", 0.5), Bound("at_most", 0.35))


MIDDLE, MIDDLE_TIME = _bytes("1 % changed in the middle"), _time("1 % changed in the middle")
FRONT, FRONT_TIME = _bytes("100 bytes inserted in front"), _time("100 bytes inserted in front")


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """In turn a first version of a new file, then the two changed ones; the first turn warms up.

    Over the wire: an embedded server is sent no bytes at all.
    """
    size = place.size(quick=256, full=1024) * MIB
    rounds = place.size(quick=2, full=5)
    first: list[tuple[float, float]] = []
    middle: list[tuple[float, float]] = []
    front: list[tuple[float, float]] = []
    with (
        modelyard_server(folder / "server") as server,
        modelyard_worker(server, folder / "client", embedded=False) as client,
    ):
        client.call("start")

        def log(path: Path, turn: int) -> tuple[float, float]:
            level(size)
            before = _stored(server)
            seconds = client.call("log", path=str(path), name=f"changing-{turn}")["seconds"]
            return float(seconds), (_stored(server) - before) / 1e6

        for turn in range(rounds + 1):
            say(f"second-version: turn {turn} of {rounds}")
            path = random_file(folder / f"{turn}" / "model.bin", size)
            taken = [log(path, turn)]
            _change_middle(path)
            taken.append(log(path, turn))
            _insert_in_front(path)
            taken.append(log(path, turn))
            shutil.rmtree(path.parent)
            if turn > 0:
                for own, sample in zip((first, middle, front), taken, strict=True):
                    own.append(sample)
    whole = [size / 1e6] * rounds
    times, _ = zip(*first, strict=True)
    for targets, samples in (((MIDDLE, MIDDLE_TIME), middle), ((FRONT, FRONT_TIME), front)):
        seconds, megabytes = zip(*samples, strict=True)
        yield Row(targets[0], megabytes, whole)
        yield Row(targets[1], seconds, times)


def _stored(server: Side) -> int:
    """Bytes of all packs."""
    packs = server.folder / "data" / "store"
    return sum(path.stat().st_size for path in packs.rglob("*") if path.is_file())


def _change_middle(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size // 100))


def _insert_in_front(path: Path) -> None:
    longer = path.with_suffix(".longer")
    with path.open("rb") as source, longer.open("wb") as target:
        target.write(os.urandom(100))
        shutil.copyfileobj(source, target, 16 * MIB)
    longer.replace(path)


BENCH = Bench("second-version", (MIDDLE, MIDDLE_TIME, FRONT, FRONT_TIME), measure)
