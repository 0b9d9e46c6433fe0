"""More connections and calls than a server can serve: idle ones are closed, others get an error."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import resource
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from modelyard.configuration import addresses
from modelyard.rpc.connection import Connection
from modelyard.v1.model_artifact_pb2 import GetModelArtifactVersionRequest
from modelyard.v1.model_artifact_pb2_grpc import ModelArtifactServiceStub
from modelyard_server.rpc.dispatch.admission import MOST_CALLS
from tests.clients import fast_upload, refusals
from tests.clients.fast_upload import random_chunks
from tests.clients.refusals import Refusal
from tests.clients.watch import log
from tests.parts.certificates import certificate_for_localhost
from tests.parts.server import Factory, LiveServer, new_project, production_place

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are set, and seen, as on Linux")

DESCRIPTORS = 400
SILENT = 1_500
CALLS = 6_000
"""At once: more than a server holds, and than gRPC queues by itself."""
CONNECTIONS = 1_200
RESOLVE = "/modelyard.v1.ModelArtifactService/GetModelArtifactVersion"


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """As many as this process may have, for its own side of the connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 3 * SILENT:
        pytest.skip(f"this process may have {before[1]} file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def limited(soft: int, hard: int) -> tuple[str, ...]:
    """The shell that starts a command with these limits on file descriptors."""
    return ("/bin/sh", "-c", f'ulimit -S -n {soft} && ulimit -H -n {hard} && exec "$@"', "sh")


@contextlib.contextmanager
def silent_connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections that send nothing."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", port), 30)))
            for _ in range(count)
        ]


def ends(connection: socket.socket) -> bool:
    """Whether the server closes a connection within half a minute; what it says first does not matter."""
    connection.settimeout(30)
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def open_descriptors(server: LiveServer) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


@pytest.mark.parametrize("kind", ["sqlite+disk", "postgresql+s3"])
def test_silent_connections_do_not_block_other_clients(
    request: pytest.FixtureRequest, live_server_factory: Factory, kind: str
) -> None:
    place, env = production_place(request) if kind == "postgresql+s3" else (None, None)
    server = live_server_factory(place=place, env=env)
    server.wrapper = limited(DESCRIPTORS, DESCRIPTORS)
    stubs = server.start().stubs()
    project = new_project()
    log(stubs, project)
    with silent_connections(server.port, SILENT) as silent:
        for number in range(5):
            chunks = random_chunks(8)
            version = fast_upload.log(stubs, project, f"model-{number}", {"w": chunks}).version
            assert fast_upload.read(stubs, version.id, "w") == b"".join(chunks)
        assert open_descriptors(server) < DESCRIPTORS
        assert all(ends(connection) for connection in silent)
        late = server.stubs()
        grpc.channel_ready_future(late.channel).result(30)
        log(late, project, "another")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_connection_that_sends_nothing_is_closed(
    live_server_factory: Factory, tmp_path: Path, tls: bool
) -> None:
    options: tuple[str, ...] = ()
    if tls:
        certificate, key = certificate_for_localhost(tmp_path)
        options = ("--tls-cert", str(certificate), "--tls-key", str(key))
    server = live_server_factory(*options).start()
    with silent_connections(server.port, 3) as silent:
        assert all(ends(connection) for connection in silent)


def test_a_connection_that_sends_only_an_http2_preface_is_closed(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    with silent_connections(server.port, 3) as silent:
        for connection in silent:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert all(ends(connection) for connection in silent)


def test_a_server_raises_its_descriptor_limit_to_the_hard_limit(live_server_factory: Factory) -> None:
    server = live_server_factory()
    server.wrapper = limited(200, 1_000)
    server.start()
    limits = Path(f"/proc/{server.pid}/limits").read_text()
    line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == ["1000", "1000"]


def test_silent_connections_to_the_metrics_port_are_closed(live_server_factory: Factory) -> None:
    server = live_server_factory("--metrics-port", "0").start()
    line = next(line for line in server.log.read_text().splitlines() if "metrics http" in line)
    url = line.split()[-1]
    port = int(url.split(":")[2].partition("/")[0])
    before = open_descriptors(server)
    with silent_connections(port, 100) as silent:
        log(server.stubs(), "p")
        assert open_descriptors(server) < before + 50
        assert all(ends(connection) for connection in silent)
    with urllib.request.urlopen(url, timeout=30) as response:
        assert b"modelyard_requests_total" in response.read()


Ends = collections.Counter[str]


async def _at_once(address: str, connections: int, calls: int) -> Ends:
    """How calls end that begin at the same moment: OK, or a published reason with a time to wait."""
    found: Ends = collections.Counter()
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(connections)]
    request = GetModelArtifactVersionRequest(ref="p/bert:latest")

    async def call(channel: grpc.aio.Channel) -> None:
        try:
            await ModelArtifactServiceStub(channel).GetModelArtifactVersion(request, timeout=120)
            found["OK"] += 1
        except grpc.aio.AioRpcError as error:
            found[_reason(error)] += 1

    await asyncio.gather(*(call(channels[number % connections]) for number in range(calls)))
    await asyncio.gather(*(channel.close() for channel in channels))
    return found


def _reason(error: grpc.aio.AioRpcError) -> str:
    refusal = Refusal()
    try:
        refusals.read(error, refusal)
    except AssertionError:
        return f"a bare {error.code().name}"
    return f"{refusal.reason}, retry" if refusal.retry else refusal.reason


@pytest.fixture
def server(live_server_factory: Factory) -> LiveServer:
    """A server that takes calls without keys."""
    return live_server_factory("--no-auth").start()


@pytest.mark.parametrize("connections", [1, CONNECTIONS])
def test_calls_beyond_the_limit_are_refused_with_a_reason(server: LiveServer, connections: int) -> None:
    log(server.stubs(), "p")
    found = asyncio.run(_at_once(server.address, connections, CALLS))
    assert set(found) <= {"OK", "RATE_LIMITED, retry"}, found
    assert found["OK"] > 0
    assert sum(found.values()) == CALLS


def test_a_full_server_still_answers_health_checks(server: LiveServer) -> None:
    """Otherwise a balancer would move its calls to the other servers."""
    log(server.stubs(), "p")
    stubs = server.stubs()
    stop = threading.Event()
    answers = []

    def ask() -> None:
        while not stop.is_set():
            answers.append(stubs.health.Check(health_pb2.HealthCheckRequest(), timeout=60).status)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        asyncio.run(_at_once(server.address, 1, CALLS))
    finally:
        stop.set()
        asking.join()
    assert set(answers) == {health_pb2.HealthCheckResponse.SERVING}


def test_the_sdk_tries_again_until_a_full_server_has_room(server: LiveServer) -> None:
    log(server.stubs(), "p")
    endpoint = addresses.parse(server.url)
    connection = Connection(lambda: endpoint)
    request = GetModelArtifactVersionRequest(ref="p/bert:latest")

    async def while_full() -> int:
        async with grpc.aio.insecure_channel(server.address) as channel:
            # Calls whose request never comes.
            held = [channel.stream_unary(RESOLVE)() for _ in range(MOST_CALLS)]
            stub = ModelArtifactServiceStub(channel)
            while await _resolves(stub, request):
                await asyncio.sleep(0.05)
            said = server.log.read_text().count("RATE_LIMITED")
            answer = asyncio.create_task(
                asyncio.to_thread(connection.artifacts.GetModelArtifactVersion, request)
            )
            while server.log.read_text().count("RATE_LIMITED") == said:
                await asyncio.sleep(0.05)
            for call in held:
                call.cancel()
            return (await answer).version.number

    try:
        assert asyncio.run(asyncio.wait_for(while_full(), 120)) == 0
    finally:
        connection.close()


async def _resolves(stub: ModelArtifactServiceStub, request: GetModelArtifactVersionRequest) -> bool:
    try:
        await stub.GetModelArtifactVersion(request, timeout=60)
    except grpc.aio.AioRpcError as error:
        if _reason(error) != "RATE_LIMITED, retry":
            raise
        return False
    return True
