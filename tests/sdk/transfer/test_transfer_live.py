"""Bytes up and down through a real embedded server."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
from pathlib import Path

import pytest

from modelyard import errors
from modelyard.contract.chunking import cut, file_digest, version_digest
from modelyard.rpc.connection import Connection
from modelyard.rpc.manifest import NewVersion, commit_messages
from modelyard.rpc.records import FileEntry
from modelyard.transfer import transfer
from modelyard.v1 import upload_pb2
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
from tests.parts.fork_server import start_python
from tests.sdk.artifacts.test_log_unchanged import Folder
from tests.sdk.transfer.test_chunking import MIB, stream

__all__ = ["connection", "data_folder", "way"]

pytest.importorskip("modelyard_server", reason="the server extra is not installed")


CONTENTS = {
    "big.bin": stream("live", 9 * MIB),
    "empty": b"",
    "folder/ä small file": b"hello",
    "folder/deep/er/zeros": bytes(3 * MIB),
    **{f"many/{number:03}": stream(f"many {number}", 3_000) for number in range(300)},
}


def test_files_are_downloaded_as_they_were_uploaded(connection: Connection, tmp_path: Path) -> None:
    version = send(connection, "all", tmp_path / "in", CONTENTS)
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == CONTENTS


def test_the_manifest_and_the_digest_follow_the_standard(connection: Connection, tmp_path: Path) -> None:
    version = send(connection, "manifest", tmp_path, CONTENTS)
    entries = transfer.manifest(connection, version.id)
    assert {entry.path: entry.chunks for entry in entries} == {
        path: tuple(cut(data)) for path, data in CONTENTS.items()
    }
    assert all(entry.digest == file_digest(entry.chunks) for entry in entries)
    assert version.digest == version_digest(entry.digested() for entry in entries).hex()
    assert (version.size_bytes, version.file_count) == (sum(map(len, CONTENTS.values())), len(CONTENTS))


def test_equal_content_makes_no_version_and_sends_nothing(connection: Connection, tmp_path: Path) -> None:
    first = send(connection, "equal", tmp_path, CONTENTS)
    meter = Meter()
    second, created = transfer.upload(
        connection, new_version("equal"), files_in(tmp_path, CONTENTS), progress=meter
    )
    assert (second.id, created) == (first.id, False)
    assert (meter.done, meter.moved) == (meter.total, 0)


def test_the_same_request_id_gives_the_same_version(connection: Connection, tmp_path: Path) -> None:
    files = files_in(tmp_path, {"file": b"first"})
    first, created = transfer.upload(connection, new_version("again"), files, request_id="transfer-again")
    assert created
    second, created = transfer.upload(connection, new_version("again"), files, request_id="transfer-again")
    assert (second.id, second.number, created) == (first.id, first.number, True)


def test_fields_of_the_draft_are_stored(connection: Connection, tmp_path: Path) -> None:
    said = NewVersion(
        "local",
        "transfers",
        "described",
        "model",
        description="words",
        metadata={"acc": 0.5},
        tags=["a"],
        aliases=["best"],
        ttl_seconds=3600,
    )
    version, _ = transfer.upload(connection, said, files_in(tmp_path, {"file": b"described"}))
    assert (version.description, list(version.tags)) == ("words", ["a"])
    assert version.metadata["acc"].double_value == 0.5
    assert set(version.aliases) == {"best", "latest"}
    assert version.HasField("expire_time")


@pytest.mark.parametrize("contents", [{}, {"empty": b""}], ids=["no file", "an empty file"])
def test_a_version_may_have_no_files(
    connection: Connection, tmp_path: Path, contents: dict[str, bytes]
) -> None:
    version = send(connection, f"nothing-{len(contents)}", tmp_path / "in", contents)
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == contents


def test_content_within_an_upload_is_sent_once(connection: Connection, tmp_path: Path) -> None:
    data = stream("once", 2 * MIB)
    meter = Meter()
    version = send(connection, "once", tmp_path / "in", {"a": data, "b": data, "c/d": data}, meter)
    assert (meter.done, meter.moved) == (3 * len(data), len(data))
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == {"a": data, "b": data, "c/d": data}


def test_bytes_inserted_in_front_send_little(connection: Connection, tmp_path: Path) -> None:
    data = stream("shifted", 40 * MIB)
    send(connection, "shifted", tmp_path, {"file": data})
    meter = Meter()
    send(connection, "shifted", tmp_path, {"file": b"x" * 100 + data}, meter)
    assert 0 < meter.moved < 3 * MIB


def test_only_paths_with_the_prefix_are_downloaded(connection: Connection, tmp_path: Path) -> None:
    version = send(connection, "prefix", tmp_path / "in", {"a/1": b"1", "a/2": b"2", "b/1": b"3"})
    transfer.download(connection, version, tmp_path / "out", path_prefix="a/")
    assert contents_of(tmp_path / "out") == {"a/1": b"1", "a/2": b"2"}


def test_a_second_download_costs_no_bytes(connection: Connection, tmp_path: Path) -> None:
    version = send(connection, "second", tmp_path / "in", CONTENTS)
    cache = transfer.Cache(tmp_path / "cache")
    for root in ("out", "out", "another"):
        meter = Meter()
        transfer.download(connection, version, tmp_path / root, progress=meter, cache=cache)
        assert contents_of(tmp_path / root) == CONTENTS
        assert meter.done == meter.total == version.size_bytes
        assert meter.moved == (version.size_bytes if root == "out" and not meter.already else 0)


def test_skip_cache_fetches_from_the_server(connection: Connection, tmp_path: Path) -> None:
    version = send(connection, "skip", tmp_path / "in", {"file": stream("skip", MIB)})
    cache = transfer.Cache(tmp_path / "cache")
    for root in ("one", "two"):
        meter = Meter()
        transfer.download(connection, version, tmp_path / root, progress=meter, cache=cache, skip_cache=True)
        assert meter.moved == MIB


def test_files_that_were_changed_are_replaced(connection: Connection, tmp_path: Path) -> None:
    contents = {"kept": stream("kept", MIB), "changed": stream("changed", MIB), "gone": stream("gone", MIB)}
    version = send(connection, "changed", tmp_path / "in", contents)
    cache = transfer.Cache(tmp_path / "cache")
    transfer.download(connection, version, tmp_path / "out", cache=cache)
    with open(tmp_path / "out/changed", "r+b") as file:
        file.write(b"damage")
    (tmp_path / "out/gone").unlink()
    inode = (tmp_path / "out/kept").stat().st_ino
    transfer.download(connection, version, tmp_path / "out", cache=cache)
    assert contents_of(tmp_path / "out") == contents
    assert (tmp_path / "out/kept").stat().st_ino == inode
    transfer.download(connection, version, tmp_path / "another", cache=cache)
    assert contents_of(tmp_path / "another") == contents


def test_a_manifest_of_many_pages_is_put_together(connection: Connection, tmp_path: Path) -> None:
    send(connection, "pages", tmp_path, {"one": b"x"})
    [chunk] = cut(b"x")
    upload_id = connection.uploads.CreateUpload(
        upload_pb2.CreateUploadRequest(entity="local", project="transfers")
    ).upload_id
    asked = upload_pb2.FindMissingChunksRequest(
        upload_id=upload_id, chunks=[upload_pb2.Chunk(digest=chunk.digest, size_bytes=chunk.size)]
    )
    assert not connection.uploads.FindMissingChunks(asked).missing
    entries = [
        FileEntry(path, count, file_digest([chunk] * count), (chunk,) * count)
        for path, count in [("a", 1), ("b", 21_000), *((f"c/{number:05}", 1) for number in range(6_000))]
    ]
    header = new_version("pages").message(version_digest(entry.digested() for entry in entries))
    reply = connection.artifacts.CommitModelArtifact(commit_messages(upload_id, header, entries, ""))
    found = transfer.manifest(connection, reply.version.id)
    assert [dataclasses.replace(entry, sha256="") for entry in found] == entries
    transfer.download(connection, reply.version, tmp_path / "out", path_prefix="b")
    assert contents_of(tmp_path / "out") == {"b": b"x" * 21_000}


DOWNLOADER = """
import sys
from pathlib import Path
from typing import Any
from modelyard.contract import errors
from modelyard.transfer import transfer
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2
from tests.clients.transfers import Meter, connection_to

data, version, root, cache = sys.argv[1:]
meter = Meter()
message = pb.ModelArtifactVersion.FromString(bytes.fromhex(version))
cached = transfer.Cache(Path(cache))
transfer.download(connection_to(Path(data)), message, Path(root), progress=meter, cache=cached)
print(meter.moved)
"""


def test_processes_download_a_version_once(connection: Connection, data_folder: Path, tmp_path: Path) -> None:
    contents = {"big": stream("shared", 30 * MIB), "small": b"small"}
    version = send(connection, "shared", tmp_path / "in", contents)
    roots = [tmp_path / "one", tmp_path / "two", tmp_path / "two"]
    processes = [
        start_python(
            "-c",
            DOWNLOADER,
            str(data_folder),
            version.SerializeToString().hex(),
            str(root),
            str(tmp_path / "cache"),
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
        )
        for root in roots
    ]
    moved = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert sorted(moved) == [0, 0, version.size_bytes]
    for root in roots:
        assert contents_of(root) == contents


def test_threads_may_download_into_one_folder_at_once(connection: Connection, tmp_path: Path) -> None:
    contents = {"big": stream("threads", 20 * MIB), "small": b"small"}
    version = send(connection, "threads", tmp_path / "in", contents)
    meters = [Meter() for _ in range(3)]
    threads = [
        threading.Thread(
            target=transfer.download, args=(connection, version, tmp_path / "out"), kwargs={"progress": meter}
        )
        for meter in meters
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents_of(tmp_path / "out") == contents
    assert sum(meter.moved for meter in meters) == version.size_bytes


def test_damaged_content_is_replaced_when_it_is_logged_again(
    connection: Connection, data_folder: Path, tmp_path: Path
) -> None:
    data = stream("damaged later", 3 * MIB)
    folder = Folder(connection, tmp_path, {"model": data})
    version, _ = folder.log("damaged")
    (pack,) = (path for path in data_folder.rglob("packs/*/*") if data[:1000] in path.read_bytes())
    stored = bytearray(pack.read_bytes())
    stored[stored.index(data[:1000]) + 500] ^= 1
    pack.write_bytes(stored)
    with pytest.raises(errors.ChunkCorrupt, match="'model'"):
        transfer.download(connection, version, tmp_path / "out")
    again, created = folder.log("damaged")
    assert (again.id, created) == (version.id, False)
    assert 0 < folder.meter.moved < len(data)
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == {"model": data}
