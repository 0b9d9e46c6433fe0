"""A project with any number of runs, written straight into a database."""

from __future__ import annotations

import random

from modelyard_server.db.engine import Database
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import LOCAL
from tests.inprocess import bulk_rows

PROJECT = "many-runs"
TAGS = {"baseline": 0.5, "rare": 0.001}
_PORTION = 20_000


def fill(database: Database, count: int, *, entity: str = "local") -> None:
    """So many finished runs, one in a hundred failed; `summary.acc` and `loss` spread evenly over 0 to 1."""
    chance = random.Random(count)

    def place() -> tuple[int, int]:
        row = database.write(lambda session: owners.ensure_project(session, LOCAL, entity, PROJECT))
        return row.entity_id, row.id

    owner = place()
    prefixes = {**bulk_rows.RUN_MAPS, "tags": "run.tags"}
    for first in range(0, count, _PORTION):
        runs = [_run(chance, owner, number) for number in range(first, min(first + _PORTION, count))]
        bulk_rows.store_runs(database, runs)
        bulk_rows.store_index(
            database, (row for run in runs for row in bulk_rows.indexed(run, owner, prefixes))
        )
    bulk_rows.analyze(database)


def _run(chance: random.Random, owner: tuple[int, int], number: int) -> bulk_rows.Row:
    config = {
        "lr": chance.choice([0.1, 0.01, 0.001]),
        "batch": 2 ** chance.randint(3, 9),
        "model": {"name": chance.choice(["resnet", "vit"]), "depth": chance.randint(1, 50)},
        "seed": number,
    }
    summary = {"acc": chance.random(), "loss": chance.random(), "epoch": chance.randint(1, 100)}
    tags = [tag for tag, share in TAGS.items() if chance.random() < share]
    row = bulk_rows.run_row(owner, number, config, summary, tags)
    return row | {"state": "failed" if number % 100 == 7 else "finished"}
