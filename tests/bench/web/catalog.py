"""The same catalog on both sides, written past their services: models, versions, runs, one of many points."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from modelyard_server.db.tables import Run
from tests.bench import catalogs
from tests.bench.measures.runs.metric_samples import filled
from tests.bench.measures.search import on_sqlite
from tests.bench.mlflow_catalog import fill_mlflow
from tests.inprocess import run_catalog

_TIME = 1_700_000_000_000
_PORTION = 50_000


@dataclass(frozen=True)
class Sizes:
    """How many of each."""

    models: int
    versions: int
    runs: int
    points: int


def fill_ours(folder: Path, sizes: Sizes) -> str:
    """Fills a new data folder; returns the name of the run with `sizes.points`."""
    with on_sqlite(folder) as database:
        catalogs.fill(database, sizes.versions, sizes.models)
        run_catalog.fill(database, sizes.runs)
        run_id = filled(database, sizes.points)
        return database.read(lambda session: session.scalars(select(Run.run_id).filter_by(id=run_id)).one())


def fill_theirs(path: Path, sizes: Sizes) -> str:
    """Fills the database of MLflow's server, which runs; returns the id of the run with `sizes.points`."""
    fill_mlflow(path, sizes.versions, sizes.models)
    run_ids = [f"{number:032x}" for number in range(1, sizes.runs + 1)]
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database, database:
        _fill_runs(database, run_ids)
        _fill_points(database, run_ids[-1], sizes.points)
    return run_ids[-1]


def _fill_runs(database: sqlite3.Connection, run_ids: Sequence[str]) -> None:
    chance = random.Random(len(run_ids))
    database.executemany(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, "
        "start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) "
        "VALUES (?, ?, 'LOCAL', '', '', 'bulk', 'FINISHED', ?, ?, '', 'active', 'file:///nowhere', 0)",
        (
            (run_id, f"calm-river-{number}", _TIME + number * 1000, _TIME + number * 1000)
            for number, run_id in enumerate(run_ids)
        ),
    )
    for key in ("acc", "loss", "epoch"):
        values = [(key, chance.random(), _TIME, 0, run_id, False) for run_id in run_ids]
        for table in ("metrics", "latest_metrics"):
            database.executemany(_insert_metrics(table), values)
    for key in ("lr", "batch", "seed"):
        database.executemany(
            "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
            ((key, str(chance.choice([0.1, 0.01, 0.001])), run_id) for run_id in run_ids),
        )
    database.executemany(
        "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.runName', ?, ?)",
        ((f"calm-river-{number}", run_id) for number, run_id in enumerate(run_ids)),
    )


def _fill_points(database: sqlite3.Connection, run_id: str, points: int) -> None:
    of_loss = "WHERE run_uuid = ? AND key = 'loss'"
    database.execute(f"DELETE FROM metrics {of_loss}", (run_id,))
    database.execute(f"UPDATE latest_metrics SET step = ? {of_loss}", (points - 1, run_id))
    for first in range(0, points, _PORTION):
        steps = range(first, min(first + _PORTION, points))
        database.executemany(_insert_metrics("metrics"), _points(run_id, steps))


def _points(run_id: str, steps: range) -> Iterator[tuple[str, float, int, int, str, bool]]:
    chance = random.Random(steps.start)
    for step in steps:
        yield ("loss", chance.random(), _TIME + step, step, run_id, False)


def _insert_metrics(table: str) -> str:
    columns = "key, value, timestamp, step, run_uuid, is_nan"
    return f"INSERT INTO {table} ({columns}) VALUES (?, ?, ?, ?, ?, ?)"
