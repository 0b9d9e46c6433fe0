"""What `use_model` and `download` do with what is on this machine already."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Artifact, errors
from modelyard.artifacts import cached_use
from modelyard.cache.content import Cache
from modelyard.cache.version_index import MAX_FILES
from modelyard.configuration import settings
from modelyard.contract.chunking import version_digest
from modelyard.rpc.connection import Connection
from modelyard.rpc.records import FileEntry
from modelyard.transfer import transfer
from tests.clients.transfers import Meter, connection, contents_of, data_folder, send, way
from tests.parts.server import Factory, LiveServer
from tests.sdk.artifacts.test_log_unchanged import Counted
from tests.sdk.transfer.test_chunking import MIB, stream

__all__ = ["connection", "data_folder", "way"]

CONTENTS = {"model.bin": stream("offline", 3 * MIB), "deep/config": b"small"}


@pytest.fixture
def away(
    embedded: Path, live_server_factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LiveServer]:
    """A server of its own that the SDK uses, and a run on it; tests take it away."""
    server = live_server_factory("--no-auth").start()
    monkeypatch.setenv("MODELYARD_URL", server.url)
    run = modelyard.init(project="offline", mode="online")
    folder = embedded / "in"
    for path, data in CONTENTS.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    run.log_model(folder, name="model")
    yield server
    if server.exit_code is not None:
        server.start()
    modelyard.finish()


def test_a_version_that_was_used_before_is_used_without_a_server(
    away: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contents_of(Path(modelyard.use_model("model:v0"))) == CONTENTS
    away.kill()
    place = Path("artifacts/model:v0")
    (place / "damaged").write_bytes(b"damaged meanwhile")
    (place / "damaged").rename(place / "model.bin")
    (place / "deep/config").unlink()
    assert contents_of(Path(modelyard.use_model("local/offline/model:v0"))) == CONTENTS
    assert "local/offline/model:v0 comes from the local cache" in capsys.readouterr().err
    found = modelyard.Api().artifact("local/offline/model:v0")
    assert contents_of(Path(found.download("elsewhere"))) == CONTENTS


def test_what_is_not_whole_in_the_cache_is_an_error(away: LiveServer) -> None:
    modelyard.use_model("model:v0")
    cache = cached_use.cache_of(settings.current())
    away.kill()
    for file in (cache.folder / "content").rglob("*"):
        if file.is_file():
            file.unlink()
    for file in sorted(Path("artifacts").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    with pytest.raises(RuntimeError, match="not all of local/offline/model:v0 is in the local cache"):
        modelyard.use_model("model:v0")


def test_an_alias_or_another_server_is_never_answered_from_the_cache(away: LiveServer) -> None:
    modelyard.use_model("model:latest")
    mine = settings.current()
    assert cached_use.find(mine, "local/offline/model:v0") is not None
    assert cached_use.find(mine, "local/offline/model:latest") is None
    assert cached_use.find(mine, "local/offline/model:v1") is None
    other = settings.current({"url": "grpc://127.0.0.1:1"})
    assert cached_use.find(other, "local/offline/model:v0") is None


def test_a_link_that_was_used_before_is_used_without_a_server(away: LiveServer) -> None:
    modelyard.link_model("in", "Offline Model", name="model")
    modelyard.use_model("model-registry/Offline Model:v0")
    away.kill()
    place = Path(modelyard.use_model("local/model-registry/Offline Model:v0"))
    assert (place.name, contents_of(place)) == ("model:v0", CONTENTS)


def test_a_second_use_sends_no_manifest_and_no_bytes(connection: Connection, tmp_path: Path) -> None:
    version: Any = send(connection, "second", tmp_path / "in", CONTENTS)
    cache = Cache(tmp_path / "cache")
    transfer.download(connection, version, tmp_path / "out", cache=cache, progress=Meter())
    for root in ("out", "another"):
        counted: Any = Counted(connection)
        meter = Meter()
        transfer.download(counted, version, tmp_path / root, cache=cache, progress=meter)
        assert counted.calls == {}
        assert (meter.moved, meter.done) == (0, meter.total)
        assert contents_of(tmp_path / root) == CONTENTS


def test_a_damaged_manifest_is_asked_for_again(connection: Connection, tmp_path: Path) -> None:
    version: Any = send(connection, "manifest", tmp_path / "in", CONTENTS)
    cache = Cache(tmp_path / "cache")
    transfer.download(connection, version, tmp_path / "out", cache=cache)
    kept = cache.folder / "manifests" / version.digest
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    transfer.download(connection, version, tmp_path / "again", cache=cache)
    assert contents_of(tmp_path / "again") == CONTENTS


def test_part_of_a_version_is_taken_out_of_a_whole_manifest(connection: Connection, tmp_path: Path) -> None:
    version: Any = send(connection, "part", tmp_path / "in", CONTENTS)
    cache = Cache(tmp_path / "cache")
    transfer.download(connection, version, tmp_path / "first", path_prefix="deep/", cache=cache)
    assert contents_of(tmp_path / "first") == {"deep/config": b"small"}
    transfer.download(connection, version, tmp_path / "whole", cache=cache)
    assert contents_of(tmp_path / "whole") == CONTENTS
    transfer.download(connection, version, tmp_path / "second", path_prefix="deep/", cache=cache)
    assert contents_of(tmp_path / "second") == {"deep/config": b"small"}


def test_identical_files_are_fetched_once(connection: Connection, tmp_path: Path) -> None:
    data = stream("twins", 3 * MIB)
    contents = {f"copy-{number}": data for number in range(5)} | {
        "other": b"other",
        "empty": b"",
        "void": b"",
    }
    version: Any = send(connection, "twins", tmp_path / "in", contents)
    meter = Meter()
    transfer.download(connection, version, tmp_path / "out", progress=meter)
    assert contents_of(tmp_path / "out") == contents
    assert meter.moved == len(data) + len(b"other")
    assert meter.done == meter.total
    (tmp_path / "out/copy-1").write_bytes(b"changed")
    assert (tmp_path / "out/copy-2").read_bytes() == data


def test_a_file_that_changed_with_the_same_time_is_repaired(connection: Connection, tmp_path: Path) -> None:
    version: Any = send(connection, "repaired", tmp_path / "in", CONTENTS)
    cache = Cache(tmp_path / "cache")
    transfer.download(connection, version, tmp_path / "out", cache=cache)
    path = tmp_path / "out/deep/config"
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(b"SMALL")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    transfer.download(connection, version, tmp_path / "out", cache=cache)
    assert contents_of(tmp_path / "out") == CONTENTS


def test_writing_into_a_download_never_changes_another_one(connection: Connection, tmp_path: Path) -> None:
    version: Any = send(connection, "writes", tmp_path / "in", CONTENTS)
    cache = Cache(tmp_path / "cache")
    for root in ("one", "two"):
        transfer.download(connection, version, tmp_path / root, cache=cache)
        with open(tmp_path / root / "model.bin", "r+b") as file:
            file.write(b"training goes on in place")
    transfer.download(connection, version, tmp_path / "three", cache=cache)
    assert contents_of(tmp_path / "three") == CONTENTS


def test_the_least_recently_used_cached_versions_are_removed(tmp_path: Path) -> None:
    kept = Cache(tmp_path).version_index()
    manifests = [[FileEntry("far", None, uri=f"ssh://host/{number}")] for number in range(MAX_FILES + 3)]
    digests = [version_digest(entry.digested() for entry in entries).hex() for entries in manifests]
    for number, (digest, entries) in enumerate(zip(digests, manifests, strict=True)):
        kept.keep_manifest(digest, entries)
        os.utime(tmp_path / "manifests" / digest, ns=(number, number))
    assert [kept.manifest(digest) for digest in digests[:2]] == [None, None]
    assert kept.manifest(digests[-1]) == manifests[-1]
    assert len(list((tmp_path / "manifests").iterdir())) <= MAX_FILES


def test_a_draft_cannot_be_downloaded() -> None:
    with pytest.raises(errors.ArtifactNotLoggedError):
        Artifact("draft", "model").download()


@pytest.mark.slow
def test_a_folder_of_10_000_files_goes_up_down_and_is_repaired(embedded: Path, tmp_path: Path) -> None:
    run = modelyard.init(project="many-files")
    folder = tmp_path / "in"
    for number in range(10_000):
        place = folder / f"{number % 100:02}" / f"{number:05}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(number.to_bytes(4, "big") * (1 + number % 50))
    run.log_model(folder, name="ten-thousand")
    run.log_model(folder, name="ten-thousand")
    out = Path(run.use_model("ten-thousand:v0"))
    assert contents_of(out) == contents_of(folder)
    for number in range(0, 10_000, 1000):
        (out / f"{number % 100:02}" / f"{number:05}").unlink()
        (out / "77" / f"{number + 77:05}").write_bytes(b"damaged")
    assert contents_of(Path(run.use_model("ten-thousand:v0"))) == contents_of(folder)
