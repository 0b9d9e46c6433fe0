"""What tests of transfers share: an embedded server, a meter, and files to move."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.configuration import addresses
from modelyard.host.local_files import LocalFile
from modelyard.rpc import embedded
from modelyard.rpc.connection import Connection, answers
from modelyard.rpc.manifest import NewVersion
from modelyard.transfer import transfer
from modelyard.v1 import model_artifact_pb2 as pb


def connection_to(folder: Path, *, shares_disk: bool = True) -> Connection:
    def find() -> addresses.Endpoint:
        return embedded.find_or_spawn(folder, answers)

    return Connection(find, embedded_folder=folder, shares_disk=shares_disk)


def server_pid(folder: Path) -> int:
    return int(json.loads((folder / "server.json").read_text())["pid"])


@pytest.fixture(scope="module", params=["bytes", "names"])
def way(request: pytest.FixtureRequest) -> str:
    """What goes over the wire: bytes, or the names of files that both sides have before them."""
    return str(request.param)


@pytest.fixture(scope="module")
def data_folder(way: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    yield folder
    if (folder / "server.json").exists():
        os.kill(server_pid(folder), signal.SIGTERM)


@pytest.fixture(scope="module")
def connection(data_folder: Path, way: str) -> Iterator[Connection]:
    found = connection_to(data_folder, shares_disk=way == "names")
    yield found
    found.close()


class Meter:
    """Records the progress of a transfer; after `at` bytes, `then` is called once."""

    def __init__(self, at: int = 0, then: Callable[[], None] | None = None) -> None:
        self.total = self.done = self.already = 0
        self._at = at
        self._then = then
        self._lock = threading.Lock()

    @property
    def moved(self) -> int:
        return self.done - self.already

    def start(self, verb: str, total: int) -> None:
        self.total = total

    def advance(self, done: int, already: int = 0) -> None:
        with self._lock:
            self.done += done
            self.already += already
            then = self._then if self._then and self.done > self._at else None
            if then:
                self._then = None
        if then:
            then()

    def close(self) -> None:
        pass


def new_version(name: str) -> NewVersion:
    return NewVersion("local", "transfers", name, "model")


def files_in(folder: Path, contents: dict[str, bytes]) -> list[LocalFile]:
    found = []
    for path, data in contents.items():
        source = folder / path
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(data)
        found.append(LocalFile(path, source))
    return found


def contents_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def send(
    connection: Connection, name: str, folder: Path, contents: dict[str, bytes], meter: Meter | None = None
) -> pb.ModelArtifactVersion:
    files = files_in(folder, contents)
    return transfer.upload(connection, new_version(name), files, progress=meter or Meter())[0]
