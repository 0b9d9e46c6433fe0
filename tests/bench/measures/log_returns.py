"""Target 18: for how long `log_model` holds up training, with a server that is not embedded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from tests.bench.bench import Bench, Place, say
from tests.bench.children import Worker
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import MIB, level, random_file
from tests.bench.sides import modelyard_server, modelyard_worker


def _target(peer: str, limit: float, aim: float) -> Target:
    what = "log a model in the background: returns"
    return Target("18", what, "s", peer, Bound("at_most", limit), Bound("at_most", aim))


COPY, AT_ONCE = _target("cp", 3, 1.5), _target("sent at once", 0.5, 0.25)


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """In turn a copy, an upload at once and one in the background, of new files; the first turn warms up."""
    size = place.size(quick=256, full=1024) * MIB
    rounds = place.size(quick=3, full=7)
    samples: list[tuple[float, float, float]] = []
    with (
        modelyard_server(folder / "server") as server,
        modelyard_worker(server, folder / "at-once", embedded=False) as at_once,
        modelyard_worker(server, folder / "background", embedded=False) as background,
    ):
        at_once.call("start")
        background.call("start", background=True)
        for turn in range(rounds + 1):
            say(f"log-returns: turn {turn} of {rounds}")
            taken = (
                _copied(random_file(folder / "copied" / "model.bin", size), size),
                _logged(at_once, folder / "at-once" / "model.bin", size),
                _logged(background, folder / "background" / "model.bin", size),
            )
            if turn > 0:
                samples.append(taken)
    copied, sent, returned = zip(*samples, strict=True)
    yield Row(COPY, returned, copied)
    yield Row(AT_ONCE, returned, sent)


def _copied(path: Path, size: int) -> float:
    level(size)
    began = perf_counter()
    shutil.copyfile(path, path.with_suffix(".copy"))
    taken = perf_counter() - began
    shutil.rmtree(path.parent)
    return taken


def _logged(client: Worker, path: Path, size: int) -> float:
    random_file(path, size)
    level(size)
    taken = float(client.call("log", path=str(path), name="returns")["seconds"])
    path.unlink()
    client.call("settle", made="returns:latest")
    return taken


BENCH = Bench("log-returns", (COPY, AT_ONCE), measure)
