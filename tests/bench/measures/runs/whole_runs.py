"""Target 18: what a run costs besides its steps: `init` and `finish`, beside wandb offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.bench import Bench, Place
from tests.bench.children import AbsentWorker, Worker
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import interleaved

_PEER = "wandb offline"


def _target(what: str, aim: float) -> Target:
    return Target("18", what, "s", _PEER, Bound("at_most", 1), Bound("at_most", aim))


INIT = _target("init, of a second run", 0.5)
FINISH = Target(
    "18",
    "finish, after 1,000 rows of ten metrics",
    "s",
    f"{_PEER}, which sends nothing",
    Bound("value", 0.1),
    Bound("value", 0.05),
)
_LARGE = "init to finish, 10,000 metrics and a config of 100,000 numbers"
LARGE = _target(_LARGE, 0.5)
OFFLINE = _target(f"{_LARGE}, offline", 0.5)


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """Each side is one process, whose first run warms up and is not counted. Where ours is
    online, `finish` ends when the server has everything; wandb's ends when its file has.
    """
    rounds = place.size(quick=3, full=9)
    rows = place.size(quick=1_000, full=1_000)
    metrics = place.size(quick=10_000, full=10_000)
    numbers = place.size(quick=100_000, full=100_000)
    small = {"rows": rows, "metrics": 10, "config": 10}
    large = {"rows": 1, "metrics": metrics, "config": numbers}
    with place.runs(folder) as (own, peer):
        taken: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}

        def run_ours(turn: int) -> float:
            taken["ours"].append(own.call("whole_run", **small))
            return taken["ours"][-1]["init"]

        def run_peer(turn: int) -> float:
            taken["peer"].append(peer.call("whole_run", **small))
            return taken["peer"][-1]["init"]

        yield Row(INIT, *interleaved(rounds, run_ours, run_peer))
        yield Row(FINISH, *([each["finish"] for each in taken[side][1:]] for side in ("ours", "peer")))

        def whole(worker: Worker | AbsentWorker, **more: str) -> float:
            # What one does in `init` the other does in `finish`.
            return float(sum(worker.call("whole_run", **large, **more).values()))

        online, offline, theirs = interleaved(
            rounds,
            lambda _: whole(own),
            lambda _: whole(own, mode="offline"),
            lambda _: whole(peer),
        )
        yield Row(LARGE, online, theirs)
        yield Row(OFFLINE, offline, theirs)


BENCH = Bench("runs", (INIT, FINISH, LARGE, OFFLINE), measure)
