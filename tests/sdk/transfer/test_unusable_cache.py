"""A cache that cannot be used costs time and transfers, but breaks nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Artifact
from modelyard.cache.content import Cache
from modelyard.contract.chunking import Chunk, chunk_digest
from modelyard.rpc.connection import Connection
from modelyard.transfer import transfer
from modelyard.transfer.file_reader import Source
from tests.clients.transfers import (
    Meter,
    connection,
    contents_of,
    data_folder,
    files_in,
    new_version,
    send,
    way,
)
from tests.parts.processes import missing
from tests.parts.server import LiveServer
from tests.parts.system.disks import MIB, Disk, DiskFactory, disk_factory
from tests.sdk.artifacts.test_log_unchanged import Counted, settle
from tests.sdk.transfer.test_chunking import stream

__all__ = ["connection", "data_folder", "disk_factory", "way"]

ROOT = Path(__file__).parents[3]


def unusable(disk_factory: DiskFactory, how: str) -> Disk:
    disk = disk_factory("cache", MIB)
    if how == "read-only":
        disk.make_read_only()
    else:
        disk.fill()
    return disk


@pytest.mark.parametrize("how", ["read-only", "full"])
def test_everything_works_with_an_unwritable_cache_and_one_warning(
    embedded: Path,
    disk_factory: DiskFactory,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    disk = unusable(disk_factory, how)
    monkeypatch.setenv("MODELYARD_CACHE_DIR", str(disk.path))
    run = modelyard.init(project="without-cache")
    (embedded / "model.bin").write_bytes(os.urandom(1000))
    settle()
    for _ in range(2):
        run.log_model("model.bin", name=f"model-{how}")
    artifact = Artifact(f"data-{how}", "dataset")
    artifact.add_file("model.bin", policy="immutable")
    run.log_artifact(artifact)
    found = Path(run.use_model(f"model-{how}:v0"))
    assert found.read_bytes() == (embedded / "model.bin").read_bytes()
    assert contents_of(Path(artifact.download("out"))) == {"model.bin": found.read_bytes()}
    modelyard.finish()
    said = capsys.readouterr().err
    assert said.count("MODELYARD_CACHE_DIR names another folder") == 1, said


def test_what_a_read_only_cache_holds_is_still_used(
    connection: Connection, tmp_path: Path, disk_factory: DiskFactory
) -> None:
    contents = {"model.bin": b"weights", "deep/config": b"small"}
    version: Any = send(connection, "read-only", tmp_path / "in", contents)
    disk = disk_factory("cache", MIB)
    transfer.download(connection, version, tmp_path / "out", cache=Cache(disk.path), progress=Meter())
    disk.make_read_only()
    counted: Any = Counted(connection)
    meter = Meter()
    transfer.download(counted, version, tmp_path / "other", cache=Cache(disk.path), progress=meter)
    assert contents_of(tmp_path / "other") == contents
    assert (counted.calls, meter.moved) == ({}, 0)


def test_a_wrong_read_only_index_does_not_prevent_logging(
    connection: Connection, tmp_path: Path, disk_factory: DiskFactory
) -> None:
    disk = disk_factory("cache", MIB)
    contents = {"model.bin": stream("wrong memory", 3 * MIB)}
    files = files_in(tmp_path / "in", contents)
    settle()
    source = Source.of(files[0])
    source.chunks = [Chunk(chunk_digest(bytes([number])), MIB) for number in range(3)]
    Cache(disk.path).upload_index().remember([source])
    disk.make_read_only()
    version, _ = transfer.upload(
        connection, new_version("wrong-memory"), files, progress=Meter(), cache=Cache(disk.path)
    )
    transfer.download(connection, version, tmp_path / "out", progress=Meter())
    assert contents_of(tmp_path / "out") == contents


SCRIPT = """
from pathlib import Path
import modelyard
run = modelyard.init(project="no-locks")
Path("model.bin").write_bytes(b"weights")
run.log_model("model.bin", name="model")
artifact = modelyard.Artifact("data", "dataset")
artifact.add_file("model.bin")
run.log_artifact(artifact)
print(Path(run.use_model("model:v0")).read_bytes())
print(sorted(path.name for path in Path(artifact.download("out")).iterdir()))
"""


def test_a_file_system_without_locks_stops_neither_logging_nor_downloading(
    embedded: Path, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        missing("the filter of system calls is written for Linux on x86-64")
    monkeypatch.setenv("MODELYARD_URL", live_server.url)
    monkeypatch.setenv("MODELYARD_API_KEY", live_server.token)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "tests.parts.system.without_locks", "script.py"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(b"weights"), "['model.bin']"]
    assert done.stderr.count("MODELYARD_CACHE_DIR names another folder") == 1, done.stderr
