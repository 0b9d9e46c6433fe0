"""Target 19: a picture logged at every step, beside wandb offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.bench import Bench, Place
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import interleaved

_PEER = "wandb offline"


def _target(what: str) -> Target:
    return Target("19", what, "pictures/s", _PEER, Bound("times", 1), Bound("times", 2))


_IMAGES = "a picture of 64 × 64 at each of 1,000 steps, init to finish"
ONLINE = _target(_IMAGES)
OFFLINE = _target(f"{_IMAGES}, offline")


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """Every picture has other content. Where ours is online, `finish` ends when the server has
    all of them; wandb's ends when its files have. The first run of each side is not counted.
    """
    rounds = place.size(quick=2, full=5)
    steps = place.size(quick=1_000, full=1_000)
    with place.runs(folder) as (own, peer):
        online, offline, theirs = interleaved(
            rounds,
            lambda _: steps / float(own.call("logged_images", steps=steps)),
            lambda _: steps / float(own.call("logged_images", steps=steps, mode="offline")),
            lambda _: steps / float(peer.call("logged_images", steps=steps)),
        )
        yield Row(ONLINE, online, theirs)
        yield Row(OFFLINE, offline, theirs)


BENCH = Bench("images", (ONLINE, OFFLINE), measure)
