"""kill -9 of the server at every step of the writer and of the commit, and at system calls on the way.

After each: what was acknowledged is whole, nothing is half-visible, numbers
have no gap, and the same request again gives the same version.
"""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.parts.server import Factory, LiveServer, Stubs, production_place
from tests.parts.system.system_calls import injected

WRITER = ("writer.before_intent", "writer.before_put", "writer.after_put", "writer.after_publish")
DISK = ("disk.before_fsync", "disk.before_rename", "disk.after_rename")
COMMIT = ("commit.before", "commit.inside", "commit.after")
CALLS = (
    "fsync:signal=KILL:when=1",
    "fsync:signal=KILL:when=2",
    "rename:signal=KILL:when=1",
    "fdatasync:signal=KILL:when=1",
    "fdatasync:signal=KILL:when=3",
    "pwrite64:signal=KILL:when=2",
    "pwrite64:signal=KILL:when=9",
)
"""System calls at which strace kills the server: the N-th of a thread."""

Start = Callable[[str], LiveServer]


CASES = [
    *(("sqlite+disk", failpoint) for failpoint in (*WRITER, *DISK, *COMMIT)),
    *(("postgresql+s3", failpoint) for failpoint in (*WRITER, *COMMIT)),
]


def _server(kind: str, request: pytest.FixtureRequest, factory: Factory) -> LiveServer:
    if kind == "sqlite+disk":
        return factory()
    place, env = production_place(request)
    return factory(place=place, env=env)


def _numbers(stubs: Stubs) -> dict[str, list[int]]:
    """The numbers of every version that can be seen, by artifact."""
    found = {}
    for artifact in stubs.artifacts.ListModelArtifacts(
        pb.ListModelArtifactsRequest(project="p")
    ).model_artifacts:
        request = pb.ListModelArtifactVersionsRequest(id=artifact.id)
        versions = stubs.artifacts.ListModelArtifactVersions(request).versions
        found[artifact.name] = sorted(version.number for version in versions)
    return found


def _die_at(server: LiveServer, failpoint: str, act: Callable[[Stubs], object]) -> None:
    """Starts the server with the failpoint armed, acts until it dies, and starts it again without."""
    server.env["MODELYARD_FAILPOINTS"] = f"{failpoint}=kill"
    if server.url:
        server.stop()
    server.start()
    with pytest.raises(grpc.RpcError):
        act(server.stubs())
    assert server.wait() == -signal.SIGKILL
    del server.env["MODELYARD_FAILPOINTS"]
    server.start()


def _die_in_call(server: LiveServer, fault: str, act: Callable[[Stubs], object]) -> None:
    """Acts until a system call kills the server, and starts it again."""
    with injected(server.pid, fault):
        with pytest.raises(grpc.RpcError):
            act(server.stubs())
        assert server.wait() == -signal.SIGKILL
    server.start()


@pytest.mark.parametrize(("kind", "failpoint"), CASES)
def test_a_server_killed_at_any_failpoint_loses_nothing_and_shows_no_partial_version(
    request: pytest.FixtureRequest, live_server_factory: Factory, kind: str, failpoint: str
) -> None:
    server = _server(kind, request, live_server_factory)
    _survive(server, lambda act: _die_at(server, failpoint, act))


@pytest.mark.parametrize("fault", CALLS)
def test_a_server_killed_in_system_calls_loses_nothing_and_shows_no_partial_version(
    live_server_factory: Factory, fault: str
) -> None:
    server = live_server_factory()
    _survive(server, lambda act: _die_in_call(server, fault, act))


def _survive(server: LiveServer, die: Callable[[Callable[[Stubs], object]], None]) -> None:
    """Logs a version, then another one while the server dies, and repeats that request."""
    before, content = random_chunks(3), random_chunks(5)
    kept = fast_upload.log(server.start().stubs(), "p", "bert", {"w": before}).version
    request_id = uuid.uuid4().hex

    def again(stubs: Stubs) -> pb.CommitModelArtifactResponse:
        return fast_upload.log(stubs, "p", "bert", {"w": content}, request_id=request_id)

    die(again)
    stubs = server.stubs()
    assert _numbers(stubs) in ({"bert": [0]}, {"bert": [0, 1]})
    assert fast_upload.read(stubs, kept.id, "w") == b"".join(before)
    made = again(stubs).version
    assert made.number == 1
    assert fast_upload.read(stubs, made.id, "w") == b"".join(content)
    assert again(stubs).version.id == made.id
    assert fast_upload.log(stubs, "p", "bert", {"w": random_chunks(1)}).version.number == 2
    assert _numbers(stubs) == {"bert": [0, 1, 2]}


def test_what_was_acknowledged_before_a_kill_is_not_sent_again(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    first, second = random_chunks(4), random_chunks(4)
    upload_id = fast_upload.create(server.stubs(), project="p")
    assert fast_upload.send(server.stubs(), upload_id, first) == 4
    _die_at(server, "writer.before_put", lambda stubs: fast_upload.send(stubs, upload_id, second))
    stubs = server.stubs()
    assert fast_upload.find_missing(stubs, upload_id, [*first, *second]) == [4, 5, 6, 7]
    fast_upload.send(stubs, upload_id, second)
    header = pb.VersionHeader(project="p", name="bert")
    version = fast_upload.commit(stubs, upload_id, header, [fast_upload.entry("w", first + second)]).version
    assert fast_upload.read(stubs, version.id, "w") == b"".join(first + second)


def test_a_killed_server_leaves_no_temporary_files_behind(live_server_factory: Factory) -> None:
    server = live_server_factory()
    _die_at(
        server,
        "disk.before_rename",
        lambda stubs: fast_upload.log(stubs, "p", "bert", {"w": random_chunks(3)}),
    )
    left = [path for path in (server.data / "store").rglob("*") if path.is_file() and path.name != "store-id"]
    assert left == []


def test_a_simple_upload_survives_a_kill_after_its_commit(live_server_factory: Factory) -> None:
    server = live_server_factory()
    data, header = os.urandom(3_000_000), pb.VersionHeader(project="p", name="m")

    def upload(stubs: Stubs) -> pb.UploadModelArtifactResponse:
        messages = [
            pb.UploadModelArtifactRequest(header=header, path="w", data=data[:2_000_000], request_id="one"),
            pb.UploadModelArtifactRequest(data=data[2_000_000:]),
        ]
        reply: pb.UploadModelArtifactResponse = stubs.artifacts.UploadModelArtifact(iter(messages))
        return reply

    _die_at(server, "commit.after", upload)
    reply = upload(server.stubs())
    assert (reply.created, reply.version.number) == (True, 0)
    assert fast_upload.read(server.stubs(), reply.version.id, "w") == data


def test_a_damaged_pack_is_reported_and_repaired_by_the_next_upload(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    stubs, chunks = server.stubs(), random_chunks(3)
    version = fast_upload.log(stubs, "p", "bert", {"w": chunks}).version
    _flip_a_bit(server.data / "store")
    with pytest.raises(grpc.RpcError) as caught:
        fast_upload.read(stubs, version.id, "w")
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS
    again = fast_upload.log(stubs, "p", "bert", {"w": chunks})
    assert (again.created, again.version.id) == (False, version.id)
    assert fast_upload.read(stubs, version.id, "w") == b"".join(chunks)


def _flip_a_bit(store: Path) -> None:
    pack = max((path for path in store.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    with contextlib.suppress(PermissionError):
        pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
