"""Target 11: moving an alias, and a version that brings no new bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.bench.bench import Bench, Place
from tests.bench.results import Bound, NotMeasured, Row, Target
from tests.bench.rounds import compare

ALIAS = Target("11", "move an alias", "calls/s", "MLflow", Bound("times", 20), Bound("times", 60))
VERSION = Target(
    "11", "make a version without new bytes", "versions/s", "MLflow", Bound("times", 10), Bound("times", 30)
)


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """Calls of one client, one after the other."""
    ours, theirs = place.size(quick=100, full=500), place.size(quick=10, full=30)
    rounds = place.size(quick=2, full=5)
    with place.clients(folder) as (own, peer):
        own.call("make_model", folder=str(folder), name="moved", versions=2)
        with contextlib.suppress(NotMeasured):
            peer.call("make_model", name="moved", versions=2)
        address = place.modelyard().address

        def move_ours(_: int) -> float:
            return ours / float(own.call("move_alias", address=address, name="moved", times=ours))

        def move_peer(_: int) -> float:
            return theirs / float(peer.call("move_alias", name="moved", times=theirs))

        def make_ours(turn: int) -> float:
            name = f"again-{turn}"
            return ours / float(own.call("make_versions", folder=str(folder), name=name, times=ours))

        def make_peer(_: int) -> float:
            return theirs / float(peer.call("make_versions", name="moved", times=theirs))

        yield compare(ALIAS, rounds, move_ours, move_peer)
        yield compare(VERSION, rounds, make_ours, make_peer)


BENCH = Bench("small-writes", (ALIAS, VERSION), measure)
