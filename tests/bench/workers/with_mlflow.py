"""MLflow's side, through the calls its documentation shows. Runs in MLflow's own environment."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric

from tests.bench.workers.orders import obey, seconds

_BATCH = 1000  # metrics in a log_batch call: the most that MLflow takes


def log(path: str) -> dict[str, Any]:
    """Logs a file, or all files below a folder, to a new run. The run is made before the clock starts."""
    with mlflow.start_run() as run:
        call = mlflow.log_artifacts if Path(path).is_dir() else mlflow.log_artifact
        return {"seconds": seconds(lambda: call(path, "model")), "made": run.info.run_id}


def use(made: str, into: str) -> dict[str, Any]:
    """Downloads what `log` logged."""
    Path(into).mkdir(parents=True)
    taken = seconds(
        lambda: mlflow.artifacts.download_artifacts(run_id=made, artifact_path="model", dst_path=into)
    )
    return {"seconds": taken, "path": into}


def points(rows: int, scalars: int, clients: int) -> float:
    """Logs rows of scalars from as many threads as `clients`, each to its own run."""
    client = mlflow.MlflowClient()
    experiment = mlflow.set_experiment("points").experiment_id
    runs = [client.create_run(experiment).info.run_id for _ in range(clients)]
    rows_of_a_batch = _BATCH // scalars

    def write(run: str) -> None:
        for first in range(0, rows, rows_of_a_batch):
            now = int(time.time() * 1000)
            steps = range(first, min(first + rows_of_a_batch, rows))
            batch = [
                Metric(f"metric_{key}", step + key * 0.1, now, step)
                for step in steps
                for key in range(scalars)
            ]
            client.log_batch(run, metrics=batch)

    with ThreadPoolExecutor(clients) as threads:
        return seconds(lambda: list(threads.map(write, runs)))


def make_model(name: str, versions: int) -> None:
    """A registered model with some versions; the alias `production` stands on the first."""
    client = mlflow.MlflowClient()
    client.create_registered_model(name)
    source, run = _logged()
    for _ in range(versions):
        client.create_model_version(name, source=source, run_id=run)
    client.set_registered_model_alias(name, "production", "1")


def move_alias(name: str, times: int) -> float:
    """Moves the alias between the versions 1 and 2."""
    client = mlflow.MlflowClient()

    def move() -> None:
        for turn in range(times):
            client.set_registered_model_alias(name, "production", str(turn % 2 + 1))

    return seconds(move)


def make_versions(name: str, times: int) -> float:
    """Makes versions that point to content which is there already."""
    client = mlflow.MlflowClient()
    source, run = _logged()

    def make() -> None:
        for _ in range(times):
            client.create_model_version(name, source=source, run_id=run)

    return seconds(make)


def _logged() -> tuple[str, str]:
    """Something logged, for versions to point to, and the run that logged it."""
    with mlflow.start_run() as run:
        mlflow.log_text("weights", "model/weights.txt")
        return f"{run.info.artifact_uri}/model", run.info.run_id


if __name__ == "__main__":
    obey(
        {
            "log": log,
            "use": use,
            "points": points,
            "make_model": make_model,
            "move_alias": move_alias,
            "make_versions": make_versions,
        }
    )
