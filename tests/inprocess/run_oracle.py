"""A database full of runs, and the same in plain Python, where every question has a naive answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from modelyard_server.db.attributes import LEAF_LIMIT, TEXT_LIMIT
from modelyard_server.db.engine import Database
from modelyard_server.db.tables import RunMap
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.search import candidates
from tests.inprocess import bulk_rows
from tests.inprocess.bulk_rows import Row
from tests.inprocess.search_oracle import MISSING, ODD_KEY, look, scalar

COUNT = candidates.FEW + 800
"""Runs: common values are walked, rare ones looked up."""
SILENT, HEARD = 1, 1 << 60
"""Times of a last heartbeat, long ago and just now."""


@dataclass(frozen=True)
class MadeRun:
    """A run as the model knows it; `state` is the one that is shown."""

    row: Row
    project: str
    state: str

    @property
    def id(self) -> str:
        """Its global id."""
        return str(self.row["id"])


@dataclass(frozen=True)
class RunCatalog:
    """`runs` holds those that are not deleted, in no order."""

    database: Database
    runs: Sequence[MadeRun]


def fill(database: Database) -> RunCatalog:
    """Runs of two projects of `acme`; `other/p` holds what nobody asks for."""
    chance = random.Random(11)
    paths = ["acme/p", "acme/q", "other/p"]

    def places(session: Session) -> dict[str, tuple[int, int]]:
        made = [owners.ensure_project(session, LOCAL, *path.split("/")) for path in paths]
        return {path: (row.entity_id, row.id) for path, row in zip(paths, made, strict=True)}

    where = database.write(places)
    made = [_run(chance, number, where, paths) for number in range(COUNT)]
    bulk_rows.store_runs(database, [run.row for _, run in made])
    bulk_rows.store(database, RunMap, [piece for _, run in made for piece in _later_piece(chance, run.row)])
    live = [(path, run) for path, run in made if run.row["deleted_at"] is None]
    prefixes = {**bulk_rows.RUN_MAPS, "tags": "run.tags"}
    bulk_rows.store_index(
        database, [row for path, run in live for row in bulk_rows.indexed(run.row, where[path], prefixes)]
    )
    bulk_rows.analyze(database)
    return RunCatalog(database, [run for path, run in live if path.startswith("acme/")])


def in_order_of(
    runs: Sequence[MadeRun], read: Callable[[MadeRun], Any], path: Sequence[str], *, descending: bool
) -> list[MadeRun]:
    """Numbers, then texts by their beginning, then the rest by their time; ties by id."""
    numbers, texts, rest = [], [], []
    for one in runs:
        found = look(read(one), path) if "many" not in read(one) else MISSING
        if isinstance(found, int | float) and not isinstance(found, bool):
            numbers.append(((float(found), one.id), one))
        elif isinstance(found, str):
            texts.append(((found[:TEXT_LIMIT], one.id), one))
        else:
            rest.append(((one.row["created_at"], one.id), one))
    parts: list[list[tuple[Any, MadeRun]]] = [numbers, texts, rest]
    return [one for part in parts for _, one in sorted(part, key=lambda pair: pair[0], reverse=descending)]


def _run(
    chance: random.Random, number: int, where: dict[str, tuple[int, int]], paths: Sequence[str]
) -> tuple[str, MadeRun]:
    path = chance.choices(paths, [20, 3, 1])[0]
    config: Row = {"lr": chance.choice([0.1, 0.01, 1]), "opt": chance.choice(["adam", "sgd"])}
    summary: Row = {"acc": chance.random(), "any": scalar(chance)}
    if chance.random() < 0.1:
        config["lr"] = summary["acc"] = scalar(chance)
    if chance.random() < 0.2:
        config[ODD_KEY] = scalar(chance)
    if number % 50 == 0:
        summary["many"] = {f"k{each}": each for each in range(LEAF_LIMIT)}
    tags = [tag for tag, share in {"x": 0.9, "rare": 0.004}.items() if chance.random() < share]
    row = bulk_rows.run_row(where[path], number, config, summary, tags)
    stored, heard, shown = chance.choice(
        [
            *[("finished", SILENT, "finished")] * 6,
            ("failed", SILENT, "failed"),
            ("crashed", SILENT, "crashed"),
            ("running", HEARD, "running"),
            ("running", SILENT, "crashed"),
        ]
    )
    row |= {"state": stored, "heartbeat_at": heard, "deleted_at": 1 if number % 17 == 5 else None}
    if number % 900 == 0:
        row["state"] = shown = "killed"
    return path, MadeRun(row, path.partition("/")[2], shown)


def _later_piece(chance: random.Random, row: Row) -> list[Row]:
    """For some runs the newest values of the summary are in a second piece, and others in the first."""
    if chance.random() < 0.8:
        return []
    place = {"run_id": row["id"], "attempt": 1, "part": "summary", "piece": 1}
    return [{**place, "size": 20, "entries": {"any": row["summary"]["any"]}}]
