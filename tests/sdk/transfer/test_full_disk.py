"""A full disk of the user is reported before the first byte, or later by one error and no partial files."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Artifact, errors
from modelyard.cache.content import Cache
from modelyard.rpc.connection import Connection
from modelyard.transfer import transfer
from tests.clients.commands import refused
from tests.clients.transfers import Meter, connection, contents_of, data_folder, send, way
from tests.parts.system.disks import MIB, DiskFactory, disk_factory
from tests.sdk.transfer.test_chunking import stream

__all__ = ["connection", "data_folder", "disk_factory", "way"]


def test_a_version_larger_than_the_disk_is_refused_before_its_first_byte(
    connection: Connection, tmp_path: Path, disk_factory: DiskFactory
) -> None:
    version: Any = send(connection, "large", tmp_path / "in", {"a/b/model.bin": stream("large", 6 * MIB)})
    disk = disk_factory("small", 4 * MIB)
    free, meter = disk.free, Meter()
    with pytest.raises(errors.LocalDiskFull, match="6,291,456 bytes are needed") as caught:
        transfer.download(connection, version, disk.path / "out", progress=meter)
    found = caught.value
    assert (found.path, found.needed, found.free) == (str(disk.path / "out"), 6 * MIB, free)
    assert (found.errno, meter.done) == (errno.ENOSPC, 0)
    assert "MODELYARD_ARTIFACT_DIR" in str(found)
    assert list(disk.path.iterdir()) == []
    assert str(pickle.loads(pickle.dumps(found))) == str(found)  # noqa: S301  # its own


def test_the_command_line_reports_a_full_disk_in_one_line(embedded: Path, disk_factory: DiskFactory) -> None:
    run = modelyard.init(project="full-disk")
    (embedded / "model.bin").write_bytes(os.urandom(3 * MIB))
    run.log_model(embedded / "model.bin", name="large")
    disk = disk_factory("small", 2 * MIB)
    said = refused(1, "use", "full-disk/large:v0", "--root", str(disk.path / "out"))
    assert "has no room: 3,145,728 bytes are needed" in said


def test_a_disk_that_fills_up_meanwhile_ends_in_the_same_error_and_holds_no_part(
    connection: Connection, tmp_path: Path, disk_factory: DiskFactory
) -> None:
    contents = {f"{number}/model.bin": stream(f"part {number}", 6 * MIB) for number in range(3)}
    version: Any = send(connection, "filling", tmp_path / "in", contents)
    disk = disk_factory("small", 24 * MIB)
    meter = Meter(at=7 * MIB, then=disk.fill)
    with pytest.raises(errors.LocalDiskFull):
        transfer.download(connection, version, disk.path / "out", progress=meter)
    disk.empty()
    whole = contents_of(disk.path)
    assert set(whole.values()) < set(contents.values())
    assert all(name.endswith("model.bin") for name in whole)
    transfer.download(connection, version, disk.path / "out", progress=Meter())
    assert contents_of(disk.path / "out") == contents


def test_files_that_are_replaced_need_no_room_twice(
    connection: Connection, tmp_path: Path, disk_factory: DiskFactory
) -> None:
    disk = disk_factory("small", 8 * MIB)
    for number in range(2):
        contents = {f"{name}": stream(f"{name} {number}", MIB) for name in range(5)}
        version: Any = send(connection, "replaced", tmp_path / "in", contents)
        transfer.download(connection, version, disk.path / "out", progress=Meter())
        assert contents_of(disk.path / "out") == contents


def test_what_an_interrupted_download_gathered_needs_no_room_again(
    connection: Connection, tmp_path: Path, disk_factory: DiskFactory
) -> None:
    contents = {"model.bin": stream("gathered", 12 * MIB)}
    version: Any = send(connection, "gathered", tmp_path / "in", contents)
    disk = disk_factory("small", 14 * MIB)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer.download(connection, version, disk.path / "out", progress=Meter(at=6 * MIB, then=interrupt))
    assert disk.free < 12 * MIB
    transfer.download(connection, version, disk.path / "out", progress=Meter())
    assert contents_of(disk.path / "out") == contents


def test_references_that_do_not_fit_are_refused_before_any_file_is_fetched(
    embedded: Path, disk_factory: DiskFactory
) -> None:
    run = modelyard.init(project="full-disk")
    (embedded / "far.bin").write_bytes(os.urandom(6 * MIB))
    artifact = Artifact("far", "model")
    artifact.add_reference((embedded / "far.bin").as_uri())
    with artifact.new_file("near.bin", "wb") as file:
        file.write(b"near")
    logged = run.log_artifact(artifact)
    disk = disk_factory("small", 4 * MIB)
    with pytest.raises(errors.LocalDiskFull):
        logged.download(disk.path / "out")
    assert list(disk.path.iterdir()) == []


def test_saving_a_file_that_does_not_fit_leaves_no_part_of_it(
    embedded: Path, disk_factory: DiskFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = disk_factory("small", 2 * MIB)
    run = modelyard.init(project="full-disk", dir=disk.path)
    (embedded / "large.bin").write_bytes(os.urandom(3 * MIB))
    with pytest.raises(errors.LocalDiskFull, match="MODELYARD_DIR"):
        run.save("large.bin", policy="now")
    assert "large.bin" not in os.listdir(run.dir)


@pytest.mark.parametrize("leave", [MIB, 0])
def test_a_cache_without_room_fails_no_download(
    connection: Connection, tmp_path: Path, disk_factory: DiskFactory, leave: int
) -> None:
    contents = {f"{number}": stream(f"uncached {number}", 2 * MIB) for number in range(3)}
    version: Any = send(connection, "uncached", tmp_path / "in", contents)
    disk = disk_factory("cache", 4 * MIB)
    disk.fill(leave)
    transfer.download(connection, version, tmp_path / "out", progress=Meter(), cache=Cache(disk.path))
    assert contents_of(tmp_path / "out") == contents
    assert contents_of(disk.path / "content") == {}


@pytest.mark.parametrize("way_in", ["add_file", "add_dir", "new_file"])
def test_a_copy_for_a_draft_without_room_says_where_and_what_to_set(
    embedded: Path, disk_factory: DiskFactory, monkeypatch: pytest.MonkeyPatch, way_in: str
) -> None:
    disk = disk_factory("cache", 2 * MIB)
    monkeypatch.setenv("MODELYARD_CACHE_DIR", str(disk.path))
    (embedded / "in").mkdir()
    (embedded / "in/large.bin").write_bytes(os.urandom(3 * MIB))
    artifact = Artifact("copied", "model")

    def write() -> None:
        with artifact.new_file("large.bin", "wb") as file:
            file.write((embedded / "in/large.bin").read_bytes())

    ways: dict[str, Callable[[], object]] = {
        "add_file": lambda: artifact.add_file("in/large.bin"),
        "add_dir": lambda: artifact.add_dir("in"),
        "new_file": write,
    }
    with pytest.raises(errors.LocalDiskFull, match="MODELYARD_CACHE_DIR") as caught:
        ways[way_in]()
    assert caught.value.path.startswith(str(disk.path))
    assert artifact.manifest.entries == {}
    assert {path for path, data in contents_of(disk.path).items() if data} == set()
