"""What a broken or hostile server can do to a user's files, and to what other servers send: nothing.

Every false path leads into the folder of the test, whatever
the code makes of it: a fault that comes back must not reach this machine's files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import errors
from modelyard.cache.content import Cache
from modelyard.cache.version_index import MAX_FILES
from modelyard.configuration import addresses
from modelyard.configuration.settings import Settings
from modelyard.contract import chunking
from modelyard.rpc.connection import Connection, connect
from modelyard.transfer import transfer
from modelyard.v1 import upload_pb2
from tests.clients.commands import refused
from tests.clients.transfers import Meter, contents_of, data_folder, files_in, new_version, send, way
from tests.clients.transfers import connection as good
from tests.parts.hostile_server import PROJECT, HostileServer, file_entry, version_of
from tests.sdk.artifacts.test_log_unchanged import settle

__all__ = ["data_folder", "good", "way"]

REF = f"local/{PROJECT}/model:v0"
GOOD = b"what the good server has"
EVIL = b"what the hostile one says"
DIGEST = chunking.chunk_digest(GOOD)
TIB = 1 << 40


@pytest.fixture
def hostile(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    """A hostile server that the SDK of this process uses."""
    with HostileServer() as server:
        monkeypatch.setenv("MODELYARD_URL", server.url)
        monkeypatch.setenv("MODELYARD_ENTITY", "local")
        monkeypatch.setenv("MODELYARD_X_DISABLE_META", "true")  # it writes files and updates the run
        yield server
        modelyard.finish()


@pytest.fixture
def link(hostile: HostileServer) -> Connection:
    return connect(Settings(url=hostile.url))


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for the cache's own: empty locks."""
    return {path: data for path, data in contents_of(folder).items() if "cache/locks/" not in path}


def outside_runs(folder: Path) -> dict[str, bytes]:
    """As `everything`, without the local folders of runs, which change while a run goes on."""
    return {path: data for path, data in everything(folder).items() if "/modelyard/run-" not in path}


@pytest.mark.parametrize(
    "lie",
    [
        {"digest": "../../precious"},
        {"digest": "../../many/file"},
        {"digest": ""},
        {"digest": "AB" * 32},
        {"digest": "ab" * 31},
        {"name": "../../precious"},
        {"name": ".."},
        {"name": "deep/er"},
        {"entity": "../.."},
        {"project": ".."},
        {"number": -1},
        {"size_bytes": -5},
        {"file_count": -1},
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["use_model", "download", "use"])
def test_a_version_with_impossible_names_or_digests_changes_no_file(
    hostile: HostileServer, tmp_path: Path, lie: dict[str, Any], how: str
) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    hostile.version = version_of(hostile.entries, **lie)
    before = outside_runs(tmp_path)
    if how == "use":
        assert "the server's reply cannot be used" in refused(1, "use", REF)
    else:
        run = modelyard.init(project=PROJECT, id="run")
        with pytest.raises(errors.ReplyInvalid):
            run.use_model(REF) if how == "use_model" else modelyard.Api().artifact(REF).download()
    assert outside_runs(tmp_path) == before


def test_a_digest_that_is_a_path_never_makes_the_cache_delete_files(link: Connection, tmp_path: Path) -> None:
    many = {f"many/{number}": b"" for number in range(MAX_FILES + 200)}
    files_in(tmp_path, many)
    entries = [file_entry("model.bin", b"weights")]
    version: Any = version_of(entries, digest="../../many/x")
    with pytest.raises(errors.ReplyInvalid, match="64 lower-case hex"):
        transfer.download(link, version, tmp_path / "out", cache=Cache(tmp_path / "cache"), progress=Meter())
    assert len(os.listdir(tmp_path / "many")) == len(many)


@pytest.mark.parametrize("run_id", ["../../outside", "..", "deep/er", "", "a b", "a\0b"])
def test_a_run_id_that_is_a_path_starts_no_run(hostile: HostileServer, tmp_path: Path, run_id: str) -> None:
    hostile.run.name = run_id
    before = everything(tmp_path)
    with pytest.raises(errors.ReplyInvalid, match="run_id"):
        modelyard.init(project=PROJECT)
    assert everything(tmp_path) == before


CHUNK = upload_pb2.Chunk(digest=chunking.chunk_digest(EVIL), size_bytes=len(EVIL))
LIES: dict[str, list[Any]] = {
    "a size of 1 TiB": [file_entry("model.bin", EVIL, size_bytes=TIB)],
    "a negative size": [file_entry("model.bin", EVIL, size_bytes=-5)],
    "an unknown size": [file_entry("model.bin", EVIL, size_bytes=None)],
    "a size that is too small": [file_entry("model.bin", EVIL, size_bytes=1)],
    "no size": [file_entry("model.bin", EVIL, size_bytes=0)],
    "no chunks": [file_entry("model.bin", EVIL, chunks=[])],
    "a chunk too many": [file_entry("model.bin", EVIL, chunks=[CHUNK, CHUNK])],
    "an empty chunk": [file_entry("model.bin", b"", chunks=[upload_pb2.Chunk(digest=DIGEST)])],
    "a chunk of 4 GiB": [
        file_entry(
            "model.bin",
            EVIL,
            size_bytes=(1 << 32) - 1,
            chunks=[upload_pb2.Chunk(digest=DIGEST, size_bytes=(1 << 32) - 1)],
        )
    ],
    "a chunk without a digest": [
        file_entry("model.bin", EVIL, chunks=[upload_pb2.Chunk(digest=b"x", size_bytes=len(EVIL))])
    ],
    "a digest that its chunks do not make": [file_entry("model.bin", EVIL, digest=DIGEST.hex())],
    "a digest in capitals": [file_entry("model.bin", EVIL, digest=file_entry("", EVIL).digest.upper())],
    "a file without a digest": [file_entry("model.bin", EVIL, digest="")],
    "a path that climbs": [file_entry("../outside", EVIL)],
    "a path from the root": [file_entry("/outside/file", EVIL)],
    "a path twice": [file_entry("model.bin", EVIL), file_entry("model.bin", EVIL)],
    "a file that is a folder": [file_entry("model.bin", EVIL), file_entry("model.bin/x", EVIL)],
    "a file without its beginning": [file_entry("model.bin", EVIL, continued=True)],
    "a reference with content": [file_entry("model.bin", EVIL, reference_uri="s3://bucket/key")],
    "a reference without a scheme": [
        file_entry("model.bin", b"", size_bytes=None, digest="", chunks=[], reference_uri="no/scheme")
    ],
    "a reference of -5 bytes": [
        file_entry("model.bin", b"", size_bytes=-5, digest="", chunks=[], reference_uri="ssh://host/key")
    ],
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("prefix", ["", "model"])
def test_an_impossible_manifest_is_refused_whole(
    hostile: HostileServer, link: Connection, tmp_path: Path, lie: str, prefix: str
) -> None:
    hostile.entries = LIES[lie]
    hostile.data = EVIL
    cache = Cache(tmp_path / "cache")
    before = everything(tmp_path)
    with pytest.raises(errors.ReplyInvalid):
        transfer.download(
            link, hostile.version, tmp_path / "out", path_prefix=prefix, cache=cache, progress=Meter()
        )
    assert everything(tmp_path) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lie", [{"size_bytes": 1}, {"size_bytes": TIB}, {"file_count": 2}], ids=str)
def test_sizes_that_do_not_add_up_are_refused(
    hostile: HostileServer, link: Connection, tmp_path: Path, lie: dict[str, int]
) -> None:
    version: Any = version_of(hostile.entries, **lie)
    with pytest.raises(errors.ReplyInvalid, match="the version states"):
        transfer.download(link, version, tmp_path / "out", progress=Meter())


def test_one_server_cannot_change_downloads_of_another(
    hostile: HostileServer, link: Connection, good: Connection, tmp_path: Path
) -> None:
    version: Any = send(good, "poisoned", tmp_path / "in", {"model.bin": GOOD})
    cache = Cache(tmp_path / "cache")
    hostile.data = EVIL
    for lie in (
        file_entry("model.bin", EVIL),
        file_entry("model.bin", EVIL, digest=file_entry("", GOOD).digest),
        file_entry("evil.bin", GOOD),
    ):
        hostile.entries = [lie]
        stolen: Any = version_of([file_entry("model.bin", GOOD)], size_bytes=lie.size_bytes)
        assert stolen.digest == version.digest
        for root in ("out", "other"):
            with pytest.raises(errors.ReplyInvalid):
                transfer.download(link, stolen, tmp_path / root, cache=cache, progress=Meter())
    for root in ("out", "another"):
        transfer.download(good, version, tmp_path / root, cache=cache, progress=Meter())
        assert contents_of(tmp_path / root) == {"model.bin": GOOD}


def test_a_cached_manifest_with_another_digest_is_not_used(good: Connection, tmp_path: Path) -> None:
    version: Any = send(good, "kept", tmp_path / "in", {"model.bin": GOOD})
    other: Any = send(good, "kept", tmp_path / "in", {"model.bin": EVIL})
    cache = Cache(tmp_path / "cache")
    transfer.download(good, other, tmp_path / "out", cache=cache, progress=Meter())
    manifests = cache.folder / "manifests"
    (manifests / other.digest).rename(manifests / version.digest)
    transfer.download(good, version, tmp_path / "out", cache=cache, progress=Meter())
    assert contents_of(tmp_path / "out") == {"model.bin": GOOD}


def test_a_false_reply_to_a_log_never_relinks_old_content(
    hostile: HostileServer, link: Connection, good: Connection, tmp_path: Path
) -> None:
    old, _ = transfer.upload(
        good, new_version("misnamed"), files_in(tmp_path / "old", {"model.bin": GOOD}), progress=Meter()
    )
    files = files_in(tmp_path / "new", {"model.bin": EVIL})
    settle()
    cache = Cache(tmp_path / "cache")
    hostile.version = version_of([file_entry("model.bin", GOOD)])
    with pytest.raises(errors.ReplyInvalid, match="what was logged has the digest"):
        transfer.upload(link, new_version("misnamed"), files, progress=Meter(), cache=cache)
    version, created = transfer.upload(good, new_version("misnamed"), files, progress=Meter(), cache=cache)
    assert (created, version.number) == (True, old.number + 1)
    transfer.download(good, version, tmp_path / "out", progress=Meter())
    assert contents_of(tmp_path / "out") == {"model.bin": EVIL}


@pytest.mark.timeout(60)
def test_a_pipe_as_the_place_of_bytes_does_not_block_a_download(
    hostile: HostileServer, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    hostile.place = os.fsencode(tmp_path / "pipe")
    shared = Connection(lambda: addresses.parse(hostile.url, ""), embedded_folder=tmp_path)
    transfer.download(shared, hostile.version, tmp_path / "out", progress=Meter())
    assert contents_of(tmp_path / "out") == {"model.bin": b"weights"}
    shared.close()


def test_trimming_deletes_nothing_that_the_cache_did_not_make(good: Connection, tmp_path: Path) -> None:
    sealed = hashlib.sha256(b"").hexdigest()
    own = {
        "cache/content/notes.txt": b"x" * 5000,
        "cache/content/ab/notes.txt": b"x" * 5000,
        f"cache/content/ab/{sealed}": b"x" * 5000,
        f"cache/content/mine/{sealed}": b"x" * 5000,
        **{f"cache/manifests/{number}.txt": b"mine" for number in range(MAX_FILES + 10)},
        **{f"cache/versions/{number}/mine": b"mine" for number in range(10)},
    }
    files_in(tmp_path, own)
    cache = Cache(tmp_path / "cache", max_bytes=200_000)
    for number in range(4):
        contents = {"model.bin": os.urandom(90_000)}
        version: Any = send(good, "trimmed", tmp_path / "in", contents)
        transfer.download(good, version, tmp_path / f"out-{number}", cache=cache, progress=Meter())
    kept = [path for path in (tmp_path / "cache/content").rglob("*") if path.stat().st_size == 90_000]
    assert len(kept) < 4
    assert own.items() <= contents_of(tmp_path).items()
