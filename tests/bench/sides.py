"""The two sides of a comparison: modelyard, MLflow, and the store below; started when first needed."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench.children import ROOT, Server, Worker, serving, working
from tests.bench.results import NotMeasured
from tests.parts import s3
from tests.parts.processes import built, free_port

MLFLOW = "mlflow==3.17.2"
WANDB = "wandb==0.31.0 numpy pillow"
_MLFLOW_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
_INSTALL_SECONDS = 900


@dataclass(frozen=True)
class Side:
    """A server, where it is, and the folder that its data lies in."""

    server: Server
    address: str
    folder: Path


def mlflow_python() -> Path:
    """The interpreter of MLflow's own environment, which is made at the first call. Raises NotMeasured."""
    return _installed(MLFLOW)


@functools.cache
def _installed(packages: str) -> Path:
    """The interpreter of an environment that has some packages, named for the first. Raises NotMeasured."""
    home = ROOT / f".venv-bench-{packages.partition('=')[0]}"
    python, ready = home / "bin" / "python", home / f".{packages}"
    if ready.exists():
        return python
    print(f"installing {packages} into {home.name} …", file=sys.stderr)
    try:
        venv.create(home, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *packages.split()]
        done = subprocess.run(install, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotMeasured(f"{packages} cannot be installed: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["pip failed"]
        raise NotMeasured(f"{packages} cannot be installed: {said[-1]}")
    ready.touch()
    return python


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[Side]:
    """MLflow's server with its own defaults, on SQLite, with the data below `folder`."""
    program = mlflow_python().parent / "mlflow"
    port = free_port()
    command: list[str | Path] = [
        program,
        "server",
        "--backend-store-uri",
        "sqlite:///mlflow.db",
        "--port",
        str(port),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    health = f"http://127.0.0.1:{port}/health"
    with serving(command, lambda: _answers(health), folder, _MLFLOW_QUIET) as server:
        yield Side(server, f"127.0.0.1:{port}", folder)


@contextlib.contextmanager
def mlflow_worker(side: Side, folder: Path) -> Iterator[Worker]:
    """A client of that server."""
    environment = {**_MLFLOW_QUIET, "MLFLOW_TRACKING_URI": f"http://{side.address}"}
    with working(mlflow_python(), "with_mlflow", folder, environment) as worker:
        yield worker


@contextlib.contextmanager
def wandb_worker(folder: Path) -> Iterator[Worker]:
    """wandb offline. Raises NotMeasured."""
    environment = {**_own_variables(folder), "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    with working(_installed(WANDB), "with_wandb", folder, environment) as worker:
        yield worker


@contextlib.contextmanager
def modelyard_server(folder: Path, options: Sequence[str] = ()) -> Iterator[Side]:
    """Our server on SQLite and a folder, as it is embedded; `options` go to its command line."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    start = [sys.executable, "-m", "modelyard_server", "start"]
    command = [*start, "--data", str(folder / "data"), "--port", str(port), *options]
    with serving(command, lambda: _is_healthy(address), folder, _own_variables(folder)) as server:
        yield Side(server, address, folder)


@contextlib.contextmanager
def modelyard_worker(side: Side, folder: Path, *, embedded: bool) -> Iterator[Worker]:
    """A client. Embedded: it finds the server by the data folder that both share, else by its address."""
    found = {"MODELYARD_DATA_DIR": str(side.folder / "data")}
    addressed = {"MODELYARD_URL": f"grpc://{side.address}"}
    environment = {
        **_own_variables(folder),
        **(found if embedded else addressed),
        "MODELYARD_SILENT": "true",
    }
    with working(sys.executable, "with_modelyard", folder, environment) as worker:
        yield worker


@contextlib.contextmanager
def minio_server(folder: Path) -> Iterator[Side]:
    """MinIO's server over a folder."""
    try:
        program = built("minio")
    except pytest.skip.Exception as error:
        raise NotMeasured(str(error)) from error
    address = f"127.0.0.1:{free_port()}"
    environment = {
        "MINIO_ROOT_USER": s3.ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": s3.SECRET_KEY,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    command: list[str | Path] = [program, "server", str(folder / "data"), "--address", address, "--quiet"]
    with serving(
        command, lambda: _answers(f"http://{address}/minio/health/ready"), folder, environment
    ) as server:
        yield Side(server, address, folder)


@contextlib.contextmanager
def minio_worker(folder: Path) -> Iterator[Worker]:
    """The S3 client without anything of ours."""
    with working(sys.executable, "with_minio", folder, _own_variables(folder)) as worker:
        yield worker


def _own_variables(folder: Path) -> dict[str, str]:
    """What keeps the user's own settings, keys and caches out of the measurement."""
    for name in [name for name in os.environ if name.startswith(("MODELYARD_", "WANDB_"))]:
        del os.environ[name]
    places = {"HOME": folder / "home", "MODELYARD_CACHE_DIR": folder / "cache"}
    return {**s3.CREDENTIALS, **{name: str(place) for name, place in places.items()}}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _is_healthy(address: str) -> bool:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    options = [("grpc.use_local_subchannel_pool", 1)]  # else a refusal is remembered, and waited for
    with grpc.insecure_channel(address, options=options) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
