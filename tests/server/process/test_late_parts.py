"""Servers that start before their database and store do, or on a disk that is full."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.v1 import run_pb2
from tests.clients import fast_upload
from tests.clients.refusals import refused
from tests.clients.waiting import until
from tests.parts.processes import free_port, missing
from tests.parts.s3 import CREDENTIALS
from tests.parts.server import Factory, LiveServer, production_place, run_server_command, stubs_on
from tests.parts.tcp_proxy import TcpProxy

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A database and a store that are there."""
    options, _ = production_place(request)
    return options[1], options[3]


def port_of(url: str) -> int:
    return int(url.partition("127.0.0.1:")[2].partition("/")[0].partition("&")[0])


class ClosedProxy:
    """A proxy to a port that refuses connections until `open` is called."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._proxy: TcpProxy | None = None

    def open(self) -> None:
        """Accepts connections from now on."""
        self._proxy = TcpProxy(self._target, self.port)

    def close(self) -> None:
        if self._proxy is not None:
            self._proxy.__exit__(None, None, None)


@pytest.fixture
def late(place: tuple[str, str]) -> Iterator[dict[str, ClosedProxy]]:
    """Closed proxies to the database and to the store."""
    ways = {"database": ClosedProxy(port_of(place[0])), "store": ClosedProxy(port_of(place[1]))}
    yield ways
    for each in ways.values():
        each.close()


def options_through(place: tuple[str, str], late: dict[str, ClosedProxy], *closed: str) -> tuple[str, ...]:
    urls = dict(zip(("database", "store"), place, strict=True))
    for name in closed:
        urls[name] = urls[name].replace(str(port_of(urls[name])), str(late[name].port))
    return ("--database", urls["database"], "--store", urls["store"])


@contextlib.contextmanager
def starting(server: LiveServer) -> Iterator[None]:
    """The server is started before the block, and serves after it."""
    server.port = free_port()
    begin = server.spawn()
    yield
    server.wait_until_serving(begin)


def says(server: LiveServer, words: str) -> bool:
    return server.log.exists() and words in server.log.read_text()


def channel_to(server: LiveServer) -> grpc.Channel:
    """A channel that shares no connection with another one."""
    return grpc.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)])


def health(server: LiveServer) -> int:
    with channel_to(server) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        return int(reply.status)


@pytest.mark.parametrize("what", ["database", "store"])
def test_a_server_waits_for_its_database_or_store_and_then_serves(
    live_server_factory: Factory, place: tuple[str, str], late: dict[str, ClosedProxy], what: str
) -> None:
    server = live_server_factory(place=options_through(place, late, what), env=CREDENTIALS)
    with starting(server):
        until(lambda: says(server, f"modelyard waits for the {what}"))
        assert health(server) == NOT_SERVING
        with channel_to(server) as channel:
            with refused(f"{what.upper()}_UNAVAILABLE") as refusal:
                stubs_on(channel).runs.GetRun(run_pb2.GetRunRequest(id="x"), timeout=10)
            assert refusal.retry
        assert says(server, f"waiting for the {what}: ")
        late[what].open()
    assert health(server) == health_pb2.HealthCheckResponse.SERVING
    stubs, chunks = server.stubs(), fast_upload.random_chunks(1)
    version = fast_upload.log(stubs, "late", "model", {"w": chunks}, type="model").version
    assert fast_upload.read(stubs, version.id, "w") == chunks[0]


def test_workers_wait_for_the_database_or_store(
    live_server_factory: Factory, place: tuple[str, str], late: dict[str, ClosedProxy]
) -> None:
    server = live_server_factory(
        "--workers", "2", place=options_through(place, late, "database"), env=CREDENTIALS
    )
    with starting(server):
        until(lambda: says(server, "modelyard waits for the database"))
        assert health(server) == NOT_SERVING
        late["database"].open()
    assert health(server) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_ends_the_wait_at_once(
    live_server_factory: Factory, place: tuple[str, str], late: dict[str, ClosedProxy], workers: str
) -> None:
    server = live_server_factory(
        "--workers", workers, place=options_through(place, late, "store"), env=CREDENTIALS
    )
    server.spawn()
    until(lambda: says(server, "modelyard waits for the store"))
    server.send(signal.SIGTERM)
    assert server.wait(20) == 0


def test_migrate_waits_for_the_database(place: tuple[str, str], late: dict[str, ClosedProxy]) -> None:
    opening = threading.Timer(2, late["database"].open)
    opening.start()
    done = run_server_command("migrate", *options_through(place, late, "database"), env=CREDENTIALS)
    opening.join()
    assert done.returncode == 0, done.stderr
    assert "the schema is now" in done.stdout


def test_a_missing_database_ends_the_start_at_once(place: tuple[str, str]) -> None:
    database = place[0].rpartition("/")[0] + "/nobody-made-it"
    done = run_server_command("start", "--database", database, "--store", place[1], env=CREDENTIALS)
    assert done.returncode == 1
    assert 'database "nobody-made-it" does not exist' in done.stderr
    assert "waits" not in done.stdout


@pytest.mark.parametrize("how", ["bucket", "credentials"])
def test_a_refusing_store_ends_the_start_at_once(place: tuple[str, str], how: str) -> None:
    database, store = place
    env = dict(CREDENTIALS)
    if how == "bucket":
        store = store.replace("s3://", "s3://nobody-made-")
    else:
        env["AWS_SECRET_ACCESS_KEY"] = "guessed-and-wrong"
    done = run_server_command("start", "--database", database, "--store", store, env=env)
    assert done.returncode == 1
    assert ("has no bucket" if how == "bucket" else "refused: SignatureDoesNotMatch") in done.stderr
    assert "waits" not in done.stdout


def test_an_embedded_server_does_not_wait(tmp_path: Path) -> None:
    store = "s3://bucket?endpoint=http://127.0.0.1:9&region=us-east-1"
    done = run_server_command(
        "start", "--embedded", "--data", str(tmp_path), "--store", store, env=CREDENTIALS
    )
    assert done.returncode == 1
    assert "the object store did not answer" in done.stderr


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own at the folder."""
    if sys.platform != "linux" or os.geteuid() != 0:
        missing("a small file system is mounted by root, on Linux")
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        missing(f"no file system can be mounted here: {done.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Fills the file system."""
    with (folder / "filling").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


@pytest.mark.parametrize("kind", ["embedded", "own"])
@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_on_a_full_disk_a_server_starts_and_serves_reads(
    live_server_factory: Factory, tmp_path: Path, kind: str, end: str
) -> None:
    with small_disk(tmp_path / "disk", "24m"):
        options = ("--embedded",) if kind == "embedded" else ()
        place = ("--data", str(tmp_path / "disk/data"))
        server = live_server_factory(*options, place=place)
        server.data = tmp_path / "disk/data"
        server.start()
        chunks = fast_upload.random_chunks(2)
        version = fast_upload.log(server.stubs(), "full", "model", {"w": chunks}, type="model").version
        if end == "stopped":
            server.stop()
        else:
            server.kill()
        fill(tmp_path / "disk")
        server.start()
        stubs = server.stubs()
        assert fast_upload.read(stubs, version.id, "w") == b"".join(chunks)
        with refused("DISK_FULL"):
            fast_upload.create(stubs)
        (tmp_path / "disk/filling").unlink()
        fast_upload.log(stubs, "full", "model", {"w": fast_upload.random_chunks(1)}, type="model")
        assert server.stop() == 0
