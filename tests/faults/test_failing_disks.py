"""A disk that fails, is read-only or has no descriptors left: no false acknowledgement, and reads go on."""

from __future__ import annotations

import resource
from pathlib import Path

import grpc
import pytest

from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.refusals import Refusal, read
from tests.clients.waiting import until
from tests.parts.server import Factory, Stubs, run_server_command
from tests.parts.system.disks import MIB, DiskFactory, disk_factory
from tests.parts.system.system_calls import injected, under

__all__ = ["disk_factory"]

UNAVAILABLE = {"DATABASE_UNAVAILABLE", "STORE_UNAVAILABLE"}


def log(stubs: Stubs, chunks: list[bytes]) -> pb.ModelArtifactVersion:
    return fast_upload.log(stubs, "p", "bert", {"w": chunks}, request_id=chunks[0].hex()[:32]).version


def refusal_of(stubs: Stubs, chunks: list[bytes]) -> Refusal:
    """How the log of a version is refused."""
    refusal = Refusal()
    with pytest.raises(grpc.RpcError) as failure:
        log(stubs, chunks)
    read(failure.value, refusal)
    return refusal


def numbers(stubs: Stubs) -> list[int]:
    request = pb.ListModelArtifactVersionsRequest(ref="p/bert", order_by="number")
    return [version.number for version in stubs.artifacts.ListModelArtifactVersions(request).versions]


@pytest.mark.parametrize(
    "fault", ["fsync,fdatasync:error=EIO", "fsync,fdatasync:error=ENOSPC", "rename:error=EIO"]
)
def test_what_cannot_be_made_durable_is_not_acknowledged(live_server_factory: Factory, fault: str) -> None:
    server = live_server_factory().start()
    before, content = random_chunks(2), random_chunks(2)
    log(server.stubs(), before)
    with injected(server.pid, fault):
        refusal = refusal_of(server.stubs(), content)
        assert refusal.reason in {*UNAVAILABLE, "DISK_FULL"}, refusal
        assert numbers(server.stubs()) == [0]
    assert log(server.stubs(), content).number == 1
    server.kill()
    server.start()
    for number, chunks in enumerate((before, content)):
        request = pb.GetModelArtifactVersionRequest(ref=f"p/bert:v{number}")
        version = server.stubs().artifacts.GetModelArtifactVersion(request).version
        assert fast_upload.read(server.stubs(), version.id, "w") == b"".join(chunks)


def test_a_read_only_store_takes_nothing_and_is_read(
    live_server_factory: Factory, tmp_path: Path, disk_factory: DiskFactory
) -> None:
    disk = disk_factory("disk", 32 * MIB)
    place = ("--data", str(tmp_path / "data"), "--store", f"file://{disk.path}/store")
    server = live_server_factory(place=place).start()
    chunks, content = random_chunks(2), random_chunks(2)
    version = log(server.stubs(), chunks)
    disk.make_read_only()
    assert refusal_of(server.stubs(), content).reason == "STORE_UNAVAILABLE"
    assert fast_upload.read(server.stubs(), version.id, "w") == b"".join(chunks)
    assert numbers(server.stubs()) == [0]
    disk.make_writable()
    assert log(server.stubs(), content).number == 1


def test_a_server_without_descriptors_refuses_and_goes_on_when_there_are_some(
    live_server_factory: Factory,
) -> None:
    server = live_server_factory().start()
    stubs, before, content = server.stubs(), random_chunks(2), random_chunks(2)
    version = log(stubs, before)
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    used = max(int(path.name) for path in Path(f"/proc/{server.pid}/fd").iterdir())
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (min(3, used), limits[1]))
    assert refusal_of(stubs, content).reason in UNAVAILABLE
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    assert log(stubs, content).number == 1
    assert fast_upload.read(stubs, version.id, "w") == b"".join(before)


@pytest.mark.parametrize(
    "fault", ["pwrite64:signal=KILL:when=3", "pwrite64:signal=KILL:when=40", "fdatasync:signal=KILL:when=2"]
)
def test_a_migration_that_is_killed_is_completed_by_the_next(
    live_server_factory: Factory, fault: str
) -> None:
    server = live_server_factory()
    server.wrapper = under(fault)
    begun = server.spawn()
    until(lambda: server.exit_code is not None)
    assert "modelyard serves" not in server.log.read_text()[begun:]
    server.wrapper = ()
    server.start()
    assert log(server.stubs(), random_chunks(1)).number == 0
    done = run_server_command("doctor", *server.place)
    assert done.returncode == 0, done.stdout
