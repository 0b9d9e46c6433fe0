"""As many versions in MLflow's own database as in ours, written past its server: it makes 15 a second."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

_TIME = 1_700_000_000_000


def fill_mlflow(path: Path, versions: int, models: int) -> None:
    """Registered models with as many versions each, which have tags; the file is the server's."""
    chance = random.Random(versions)
    numbers = range(versions)
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database, database:
        database.executemany(
            "INSERT INTO registered_models (name, creation_time, last_updated_time, description) "
            "VALUES (?, ?, ?, '')",
            ((f"model-{number}", _TIME + number, _TIME + number) for number in range(models)),
        )
        database.executemany(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, "
            "current_stage, source, status) VALUES (?, ?, ?, ?, '', 'None', 'file:///nowhere', 'READY')",
            (
                (f"model-{number % models}", number // models + 1, _TIME + number, _TIME + number)
                for number in numbers
            ),
        )
        database.executemany(
            "INSERT INTO model_version_tags (key, value, name, version) VALUES (?, ?, ?, ?)",
            _tags(chance, numbers, models),
        )


def _tags(chance: random.Random, numbers: range, models: int) -> Iterator[tuple[str, str, str, int]]:
    for number in numbers:
        of = (f"model-{number % models}", number // models + 1)
        yield ("acc", str(chance.random()), *of)
        yield ("framework", chance.choice(["torch", "jax", "sklearn"]), *of)
        if chance.random() < 0.001:
            yield ("rare", "x", *of)
