"""S3 servers in temporary folders: MinIO's and Versity's gateway, one of each for all tests."""

from __future__ import annotations

import contextlib
import itertools
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.parts.processes import Part, built, running_part

ACCESS_KEY = "modelyard-test"
SECRET_KEY = "modelyard-test-secret"
REGION = "us-east-1"
_numbers = itertools.count(1)

CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
"""What a server process needs in its environment to use the stores; in this process the fixtures set it."""


@dataclass(frozen=True)
class S3Server:
    """A running server; `endpoint` is `http://127.0.0.1:<port>`."""

    endpoint: str

    def client(self) -> Any:
        """A client of `minio` that may do everything."""
        from minio import Minio

        return Minio(
            endpoint=self.endpoint.removeprefix("http://"),
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            secure=False,
            region=REGION,
        )

    def new_bucket(self) -> str:
        """Makes a bucket and returns its name."""
        name = f"test-{os.getpid()}-{next(_numbers)}"
        self.client().make_bucket(bucket_name=name)
        return name

    def url(self, bucket: str, prefix: str = "") -> str:
        """The store's URL for a bucket, as the server's `--store` takes it."""
        path = f"{bucket}/{prefix}" if prefix else bucket
        return f"s3://{path}?endpoint={self.endpoint}&region={REGION}"


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """MinIO's server."""
    with minio_part(tmp_path_factory.mktemp("minio")) as part, _credentials():
        yield S3Server(f"http://127.0.0.1:{part.port}")


@contextlib.contextmanager
def minio_part(folder: Path) -> Iterator[Part]:
    """MinIO's server over a folder."""
    program = built("minio")
    environment = os.environ | {
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET_KEY,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }

    def command(port: int) -> list[str]:
        return [str(program), "server", str(folder / "data"), "--address", f"127.0.0.1:{port}", "--quiet"]

    def is_ready(port: int) -> bool:
        return _answers(f"http://127.0.0.1:{port}/minio/health/ready")

    with running_part(command, is_ready, folder / "log", env=environment) as part:
        yield part


@pytest.fixture(scope="session")
def versity_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Versity's gateway over a folder."""
    program = built("versitygw")
    folder = tmp_path_factory.mktemp("versity")
    (folder / "data").mkdir()
    environment = os.environ | {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}

    def command(port: int) -> list[str]:
        server = [str(program), "--port", f"127.0.0.1:{port}", "--region", REGION, "--health", "/health"]
        return [*server, "posix", str(folder / "data")]

    def is_ready(port: int) -> bool:
        return _answers(f"http://127.0.0.1:{port}/health")

    with running_part(command, is_ready, folder / "log", env=environment) as part, _credentials():
        yield S3Server(f"http://127.0.0.1:{part.port}")


@contextlib.contextmanager
def _credentials() -> Iterator[None]:
    """What this process needs to use the stores itself."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
