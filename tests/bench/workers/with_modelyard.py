"""modelyard's side: the public SDK, and the generated stubs for single calls.

MODELYARD_URL says where the server is.
"""

from __future__ import annotations

import os
import threading
import uuid
from pathlib import Path
from time import perf_counter
from typing import Any

import modelyard
from tests.bench.workers import logged_images, whole_run
from tests.bench.workers.orders import obey, seconds

_PROJECT = "bench"


def start(background: bool = False) -> int:
    """Starts a run that the calls below belong to; returns this process's number.

    Without `background`, logging returns when all is sent.
    """
    modelyard.init(project=_PROJECT, settings={"background_uploads": background})
    return os.getpid()


def settle(made: str) -> str:
    """Waits until a version is committed; returns its number."""
    return str(modelyard.use_artifact(made).version)


def finish() -> None:
    """Ends the run."""
    modelyard.finish()


def log(path: str, name: str) -> dict[str, Any]:
    """Logs a file or a folder. The run is made before the clock starts."""
    return {"seconds": seconds(lambda: modelyard.log_model(path, name=name)), "made": f"{name}:latest"}


def use(made: str, into: str) -> dict[str, Any]:
    """Downloads what `log` logged, with a cache that has never seen it."""
    modelyard.finish()
    places = {"artifact_dir": f"{into}/artifacts", "cache_dir": f"{into}/cache"}
    modelyard.init(project=_PROJECT, settings={**places, "background_uploads": False})
    paths: list[str] = []
    taken = seconds(lambda: paths.append(modelyard.use_model(made)))
    return {"seconds": taken, "path": paths[0]}


def points(rows: int, scalars: int) -> float:
    """Logs rows of scalars to a run of its own; the clock stops when the server has them all."""
    modelyard.finish()
    run = modelyard.init(project=_PROJECT)

    def write() -> None:
        for row in range(rows):
            run.log({f"metric_{key}": row + key * 0.1 for key in range(scalars)})
        run.finish()

    return seconds(write)


def log_calls(rows: int, scalars: int, busy: bool) -> dict[str, float]:
    """Microseconds that one `run.log` takes: the median, and the 99th percentile.

    `busy`: beside a thread that computes all the time, as a data loader's may.
    """
    modelyard.finish()
    run = modelyard.init(project=_PROJECT)
    logged = [{f"metric_{key}": row + key * 0.1 for key in range(scalars)} for row in range(100)]
    stopped = threading.Event()

    def compute() -> None:
        while not stopped.is_set():
            sum(range(1_000))

    thread = threading.Thread(target=compute)
    if busy:
        thread.start()
    taken = []
    for row in range(rows):
        data = logged[row % len(logged)]
        start = perf_counter()
        run.log(data)
        taken.append(perf_counter() - start)
    stopped.set()
    if busy:
        thread.join()
    run.finish()
    taken.sort()
    return {"median": taken[rows // 2] * 1e6, "slowest": taken[rows * 99 // 100] * 1e6}


def make_model(folder: str, name: str, versions: int) -> None:
    """A registered model that links as many versions; the alias `production` stands on the first."""
    for number in range(versions):
        path = Path(folder) / f"{name}-{number}.bin"
        path.write_bytes(os.urandom(1024))
        modelyard.link_model(
            str(path), name, name=f"{name}-source", aliases=["production"] if number == 0 else None
        )


def move_alias(address: str, name: str, times: int) -> float:
    """Moves the alias between the versions 0 and 1, one call each."""
    import grpc

    from modelyard.v1 import alias_pb2
    from modelyard.v1 import alias_pb2_grpc as services

    with grpc.insecure_channel(address) as channel:
        update = services.AliasServiceStub(channel).UpdateAliases

        def move() -> None:
            for turn in range(times):
                change = alias_pb2.AliasUpdate(alias="production", version=f"v{(turn + 1) % 2}")
                update(
                    alias_pb2.UpdateAliasesRequest(ref=name, updates=[change], request_id=uuid.uuid4().hex)
                )

        return seconds(move)


def make_versions(folder: str, name: str, times: int) -> float:
    """Logs content that the server has, as new versions: the same bytes below another path each."""
    path = Path(folder) / f"{name}.bin"
    path.write_bytes(os.urandom(1024))
    modelyard.log_model(str(path), name=name)

    def make() -> None:
        for turn in range(times):
            artifact = modelyard.Artifact(name, type="model")
            artifact.add_file(str(path), name=f"weights-{turn}.bin")
            modelyard.log_artifact(artifact)

    return seconds(make)


if __name__ == "__main__":
    obey(
        {
            "start": start,
            "settle": settle,
            "finish": finish,
            "log": log,
            "use": use,
            "points": points,
            "log_calls": log_calls,
            "make_model": make_model,
            "move_alias": move_alias,
            "make_versions": make_versions,
            "whole_run": whole_run.of(modelyard),
            "logged_images": logged_images.of(modelyard),
        }
    )
