"""Files on a disk that client and server share are sent by name, not by content."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelyard import errors
from modelyard.contract import chunking
from modelyard.host.local_files import LocalFile
from modelyard.local.v1 import local_pb2 as pb
from modelyard.transfer import transfer
from modelyard.v1 import model_artifact_pb2
from tests.clients.fast_upload import commit, create
from tests.clients.refusals import refused
from tests.clients.transfers import Meter, connection_to, contents_of, data_folder, new_version, send, way
from tests.clients.waiting import until
from tests.parts.server import Factory, LiveServer, Stubs
from tests.sdk.transfer.test_chunking import stream

__all__ = ["data_folder", "way"]

MIB = 1 << 20
SIZES = [0, 1, 131_071, 131_072, 131_073, 2 * MIB, 2 * MIB + 1, 16 * MIB, 16 * MIB + 1, 37 * MIB + 5]


def named(path: Path, **wrong: Any) -> pb.LocalFile:
    """The file's true description, with the fields in `wrong` replaced."""
    found = path.stat()
    state = {"size_bytes": found.st_size, "modified_ns": found.st_mtime_ns, "inode": found.st_ino}
    return pb.LocalFile(path=os.fsencode(path), **{**state, **wrong})


def take(stubs: Stubs, upload_id: str, files: Sequence[pb.LocalFile]) -> list[pb.TakeFilesResponse]:
    return list(stubs.local.TakeFiles(pb.TakeFilesRequest(upload_id=upload_id, files=files), timeout=60))


def test_files_are_cut_as_the_standard_says_and_come_back(live_server: LiveServer, tmp_path: Path) -> None:
    stubs = live_server.stubs()
    contents = {f"{number}": stream(f"taken {number}", size) for number, size in enumerate(SIZES)}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    upload_id = create(stubs, project="taken")
    replies = take(stubs, upload_id, [named(tmp_path / name) for name in contents])
    taken = [(chunk.digest, chunk.size_bytes) for reply in replies for chunk in reply.chunks]
    expected = {name: chunking.cut(data) for name, data in contents.items()}
    assert taken == [chunk for chunks in expected.values() for chunk in chunks]
    assert sum(reply.present_bytes for reply in replies) == 0

    entries = [
        model_artifact_pb2.ManifestEntry(
            path=name,
            size_bytes=sum(size for _, size in chunks),
            chunks=[{"digest": digest, "size_bytes": size} for digest, size in chunks],
        )
        for name, chunks in expected.items()
    ]
    header = model_artifact_pb2.VersionHeader(project="taken", name="files", type="model")
    version = commit(stubs, upload_id, header, entries).version
    for name, data in contents.items():
        request = model_artifact_pb2.DownloadFileRequest(id=version.id, path=name)
        assert b"".join(reply.data for reply in stubs.artifacts.DownloadFile(request)) == data
    again = take(stubs, create(stubs, project="taken"), [named(tmp_path / name) for name in contents])
    assert sum(reply.present_bytes for reply in again) == sum(SIZES)


def test_thousands_of_small_files_are_taken_in_one_call(live_server: LiveServer, tmp_path: Path) -> None:
    stubs = live_server.stubs()
    files = [tmp_path / f"{number:05}" for number in range(6_000)]
    for number, path in enumerate(files):
        path.write_bytes(b"%d " % number * (number % 3))
    replies = take(stubs, create(stubs), [named(path) for path in files])
    taken = [chunk.digest for reply in replies for chunk in reply.chunks]
    assert taken == [hashlib.sha256(path.read_bytes()).digest() for path in files if path.stat().st_size]


def test_content_that_repeats_is_stored_once(live_server_factory: Factory, tmp_path: Path) -> None:
    server = live_server_factory().start()
    stubs = server.stubs()
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(80 * MIB)
    replies = take(stubs, create(stubs), [named(tmp_path / "zeros")])
    assert sum(chunk.size_bytes for reply in replies for chunk in reply.chunks) == 80 * MIB
    stored = sum(path.stat().st_size for path in (server.data / "store").rglob("packs/*/*"))
    assert stored == 2 * MIB


@pytest.mark.parametrize("wrong", ["size_bytes", "modified_ns", "inode"])
def test_a_file_in_another_state_is_not_taken(live_server: LiveServer, tmp_path: Path, wrong: str) -> None:
    stubs = live_server.stubs()
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(b"good")
    bad.write_bytes(b"bad")
    found = named(bad)
    upload_id = create(stubs)
    with refused("FILE_NOT_TAKEN") as refusal:
        take(stubs, upload_id, [named(good), named(bad, **{wrong: getattr(found, wrong) + 1})])
    assert refusal.metadata["file"] == "1"
    assert "differs" in refusal.message


@pytest.mark.parametrize("what", ["missing", "folder", "pipe", "loop"])
def test_an_unreadable_file_is_not_taken(live_server: LiveServer, tmp_path: Path, what: str) -> None:
    stubs = live_server.stubs()
    path = tmp_path / what
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to(path)
    with refused("FILE_NOT_TAKEN"):
        take(stubs, create(stubs), [pb.LocalFile(path=os.fsencode(path), size_bytes=1)])


def test_bad_requests_name_their_field(live_server: LiveServer, tmp_path: Path) -> None:
    stubs = live_server.stubs()
    upload_id = create(stubs)
    for file, field in (
        (pb.LocalFile(path=b"relative"), "files[0].path"),
        (pb.LocalFile(path=b"/nul\0"), "files[0].path"),
        (pb.LocalFile(path=b"/" + b"x" * 4096), "files[0].path"),
        (pb.LocalFile(path=b"/etc/hostname", size_bytes=-1), "files[0].size_bytes"),
    ):
        with refused("INVALID_FIELD", field):
            take(stubs, upload_id, [file])
    with refused("INVALID_FIELD", "files"):
        take(stubs, upload_id, [pb.LocalFile(path=b"/x")] * 10_001)
    with refused("UPLOAD_EXPIRED"):
        take(stubs, "0" * 32, [])


def locate(stubs: Stubs, version_id: str, *ranges: tuple[str, int, int | None]) -> bytes:
    """The bytes that lie where the server says."""
    wanted = [model_artifact_pb2.FileRange(path=path, offset=at, length=size) for path, at, size in ranges]
    found = b""
    for reply in stubs.local.LocateFiles(pb.LocateFilesRequest(version_id=version_id, ranges=wanted)):
        for place in reply.ranges:
            with open(place.path, "rb") as pack:
                pack.seek(place.offset)
                found += pack.read(place.length)
    return found


def test_chunks_lie_at_the_reported_places(live_server_factory: Factory, tmp_path: Path) -> None:
    server = live_server_factory().start()
    stubs = server.stubs()
    data = {"a": stream("located a", 5 * MIB + 3), "b": stream("located b", 700)}
    link = connection_to(server.data)
    version = send(link, "located", tmp_path, data)
    link.close()
    assert locate(stubs, version.id, ("a", 0, None)) == data["a"]
    assert locate(stubs, version.id, ("b", 0, None), ("a", 0, None)) == data["b"] + data["a"]
    assert locate(stubs, version.id, ("a", 1_000_001, 2_000_001)) == data["a"][1_000_001:3_000_002]
    assert locate(stubs, version.id, ("a", 5, 1), ("a", 4, 1), ("b", 699, 1)) == (
        data["a"][5:6] + data["a"][4:5] + data["b"][699:]
    )
    with refused("NOT_FOUND"):
        locate(stubs, version.id, ("c", 0, None))
    with refused("INVALID_FIELD", "ranges[0].offset"):
        locate(stubs, version.id, ("b", 701, 0))


def test_local_calls_need_the_folders_token(
    any_live_server: LiveServer, live_server_factory: Factory
) -> None:
    """Also where no key is asked for: another user of the machine must not read files through the server."""
    keyless = any_live_server.stubs("")
    with refused("NOT_ALLOWED"):
        take(keyless, "0" * 32, [])
    with refused("NOT_ALLOWED"):
        locate(keyless, "0" * 32, ("x", 0, 0))
    open_server = live_server_factory("--no-auth").start()
    with refused("NOT_ALLOWED"):
        take(open_server.stubs(""), "0" * 32, [])


def test_a_server_with_an_s3_store_takes_no_local_files(
    live_server_factory: Factory, request: pytest.FixtureRequest
) -> None:
    from tests.parts.s3 import CREDENTIALS

    store = request.getfixturevalue("minio_server")
    server = live_server_factory("--store", store.url(store.new_bucket()), env=CREDENTIALS).start()
    with refused("NOT_ALLOWED"):
        take(server.stubs(), "0" * 32, [])


def test_a_file_that_the_server_cannot_read_is_sent(data_folder: Path, tmp_path: Path) -> None:
    """The name means another file to the server: its own descriptor of that number, or none."""
    link = connection_to(data_folder)
    data = stream("sent after all", 3 * MIB)
    (tmp_path / "hidden").write_bytes(data)
    with (tmp_path / "hidden").open("rb") as file:
        source = LocalFile("model", f"/proc/self/fd/{file.fileno()}")
        meter = Meter()
        version, _ = transfer.upload(link, new_version("hidden"), [source], progress=meter)
    assert (meter.done, meter.moved) == (len(data), len(data))
    transfer.download(link, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == {"model": data}
    link.close()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_bytes_of_a_pack_are_never_returned(
    live_server_factory: Factory, tmp_path: Path, damage: str
) -> None:
    server = live_server_factory().start()
    link = connection_to(server.data)
    version = send(link, "damaged", tmp_path / "in", {"model": stream(f"damaged {damage}", 3 * MIB)})
    (pack,) = (server.data / "store").rglob("packs/*/*")
    if damage == "flip":
        with pack.open("r+b") as file:
            file.seek(MIB)
            byte = file.read(1)[0]
            file.seek(MIB)
            file.write(bytes([byte ^ 1]))
    elif damage == "cut":
        os.truncate(pack, 2 * MIB)
    else:
        pack.unlink()
    with pytest.raises(errors.ChunkCorrupt):
        transfer.download(link, version, tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()
    link.close()


def test_a_cancelled_call_leaves_no_file_open(live_server: LiveServer, tmp_path: Path) -> None:
    stubs = live_server.stubs()
    (tmp_path / "large").write_bytes(os.urandom(64 * MIB))
    request = pb.TakeFilesRequest(upload_id=create(stubs), files=[named(tmp_path / "large")])
    for _ in range(5):
        call = stubs.local.TakeFiles(request)
        next(call)
        call.cancel()
        with pytest.raises(grpc.RpcError):
            list(call)
    until(lambda: not open_files(live_server))


def open_files(server: LiveServer) -> list[str]:
    """The logged file and the packs that are being written, as often as the server has them open."""
    found = []
    for link in Path(f"/proc/{server.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(link.readlink())
    return [path.name for path in found if path.name == "large" or path.parent.name == "tmp"]
