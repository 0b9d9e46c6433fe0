"""Target 7: a model of many small files, up and down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.bench import Bench, Place
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import checked, compare, random_folder

_SIZE = 64 << 10
UP = Target("7", "log files of 64 KiB", "files/s", "MLflow", Bound("times", 12), Bound("times", 25))
DOWN = Target("7", "use files of 64 KiB", "files/s", "MLflow", Bound("times", 12), Bound("times", 25))


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """Each turn logs a folder that neither side has seen; then each of them is used."""
    files = place.size(quick=300, full=2000, tiny=120)
    rounds = place.size(quick=2, full=3)
    folders = [folder / f"model-{turn}" for turn in range(rounds + 1)]
    made: dict[str, dict[int, str]] = {"ours": {}, "peer": {}}

    with place.clients(folder) as (own, peer):

        def up_ours(turn: int) -> float:
            answer = own.call("log", path=str(folders[turn]), name=f"small-{turn}")
            made["ours"][turn] = answer["made"]
            return files / float(answer["seconds"])

        def up_peer(turn: int) -> float:
            answer = peer.call("log", path=str(folders[turn]))
            made["peer"][turn] = answer["made"]
            return files / float(answer["seconds"])

        def down_ours(turn: int) -> float:
            answer = own.call("use", made=made["ours"][turn], into=str(folder / f"ours-{turn}"))
            return files / checked(answer, folders[turn])

        def down_peer(turn: int) -> float:
            into = folder / f"peer-{turn}"
            answer = peer.call("use", made=made["peer"].get(turn), into=str(into))
            return files / checked({**answer, "path": str(into / "model")}, folders[turn])

        def prepare(turn: int) -> None:
            random_folder(folders[turn], files, _SIZE)

        yield compare(UP, rounds, up_ours, up_peer, prepare, moved=files * _SIZE)
        yield compare(DOWN, rounds, down_ours, down_peer, moved=files * _SIZE)


BENCH = Bench("small-files", (UP, DOWN), measure)
