"""docs/calling.md on keys, TLS, errors, several servers, keepalive and sizes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, BinaryIO

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from modelyard.v1 import event_pb2, run_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1.registered_model_pb2 import ListRegisteredModelsRequest
from modelyard.v1.registered_model_pb2_grpc import RegisteredModelServiceStub
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.plain_stubs import OPTIONS, SERVICE_CONFIG, calling, lines_about
from tests.clients.refusals import refused
from tests.clients.waiting import until
from tests.parts.certificates import certificate_for_localhost
from tests.parts.processes import free_port
from tests.parts.server import (
    PROMISED,
    Factory,
    LiveServer,
    Stubs,
    environment,
    new_project,
    production_place,
    run_server_command,
)
from tests.parts.tcp_proxy import TcpProxy

PAGE = Path(__file__).parents[2] / "docs" / "calling.md"
SERVING = health_pb2.HealthCheckResponse.SERVING
PING, GOAWAY, SETTINGS, ACK = 6, 7, 4, 1
_EXAMPLE = re.compile(r"<!-- runs: (\w+) -->\n```python\n(.*?)```", re.DOTALL)


def _run_example(name: str, folder: Path, **env: str) -> str:
    code = dict(_EXAMPLE.findall(PAGE.read_text()))[name]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def tls_server(live_server_factory: Factory, tmp_path: Path) -> tuple[LiveServer, str]:
    """A server with a certificate of localhost, `ca.pem` in the test's folder, and an API key."""
    certificate, private = certificate_for_localhost(tmp_path)
    (tmp_path / "ca.pem").write_bytes(certificate.read_bytes())
    server = live_server_factory("--tls-cert", str(certificate), "--tls-key", str(private))
    created = run_server_command("key", "create", "caller", "--data", str(server.data))
    assert created.returncode == 0, created.stderr
    return server.start(), created.stdout.split()[-1]


def test_the_example_calls_over_tls_with_its_key(tls_server: tuple[LiveServer, str], tmp_path: Path) -> None:
    server, key = tls_server
    (tmp_path / "service-config.json").write_text(SERVICE_CONFIG.read_text())
    printed = _run_example("calling", tmp_path, MODELS=f"localhost:{server.port}", MODELS_KEY=key)
    made, *pages = printed.splitlines()
    assert uuid.UUID(made)
    assert pages == ["['Churn']"]
    assert key not in server.log.read_text()


def test_a_server_with_tls_refuses_plain_connections(tls_server: tuple[LiveServer, str]) -> None:
    server, key = tls_server
    plain = grpc.insecure_channel(server.address)
    strangers = grpc.secure_channel(server.address, grpc.ssl_channel_credentials())
    with plain, strangers:
        for channel in (plain, strangers):
            with pytest.raises(grpc.RpcError) as caught:
                RegisteredModelServiceStub(channel).ListRegisteredModels(
                    ListRegisteredModelsRequest(), timeout=10, metadata=[("authorization", f"Bearer {key}")]
                )
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_without_a_key_only_health_and_reflection_answer(live_server_factory: Factory) -> None:
    server = live_server_factory()
    run_server_command("key", "create", "caller", "--data", str(server.data))
    server.start()
    with calling(server.address) as stubs:
        assert (
            stubs.health.Check(health_pb2.HealthCheckRequest()).status
            == health_pb2.HealthCheckResponse.SERVING
        )
        with refused("KEY_MISSING"):
            stubs.registry.ListRegisteredModels(ListRegisteredModelsRequest())
    with calling(server.address, "my_unknown") as stubs, refused("KEY_INVALID"):
        stubs.registry.ListRegisteredModels(ListRegisteredModelsRequest())
    assert "my_unknown" not in server.log.read_text()


def test_call_credentials_are_for_tls_and_plain_metadata_for_the_rest(live_server_factory: Factory) -> None:
    server = live_server_factory()
    created = run_server_command("key", "create", "caller", "--data", str(server.data))
    key = created.stdout.split()[-1]
    server.start()
    with calling(server.address) as stubs:
        ask = stubs.registry.ListRegisteredModels
        with pytest.raises(grpc.RpcError) as caught:
            ask(ListRegisteredModelsRequest(), credentials=grpc.access_token_call_credentials(key))
        assert rpc_status.from_call(caught.value) is None  # the library refused, not the server
        reply = ask(ListRegisteredModelsRequest(), metadata=[("authorization", f"Bearer {key}")])
        assert list(reply.registered_models) == []


def test_the_example_reads_the_reason_of_an_error(live_server: LiveServer, tmp_path: Path) -> None:
    printed = _run_example("errors", tmp_path, MODELS=live_server.address)
    assert printed.startswith("NOT_FOUND {")


def test_the_callers_id_is_in_the_servers_log(live_server: LiveServer) -> None:
    request_id = uuid.uuid4().hex + "-" * 40
    with calling(live_server.address) as stubs, refused("NOT_FOUND"):
        stubs.runs.GetRun(
            run_pb2.GetRunRequest(id=str(uuid.uuid4())), metadata=[("x-request-id", request_id)]
        )
    lines = lines_about(live_server, request_id[:64])
    assert [line["method"] for line in lines] == ["/modelyard.v1.RunService/GetRun"]


def _ask(stubs: Stubs, request_id: str) -> None:
    """A call that is refused, so that the server which answered has a line about it."""
    with refused("NOT_FOUND"):
        stubs.runs.GetRun(
            run_pb2.GetRunRequest(id=str(uuid.uuid4())), metadata=[("x-request-id", request_id)]
        )


def _spread(servers: list[LiveServer], request_id: str) -> list[int]:
    return [len(lines_about(server, request_id)) for server in servers]


def test_calls_go_to_all_servers_of_a_list_and_to_those_that_are_left(live_server_factory: Factory) -> None:
    servers = [live_server_factory().start() for _ in range(2)]
    with calling("ipv4:" + ",".join(server.address for server in servers)) as stubs:

        def both_answered() -> bool:
            request_id = uuid.uuid4().hex
            for _ in range(4):
                _ask(stubs, request_id)
            return _spread(servers, request_id) == [2, 2]

        until(both_answered)
        servers[0].kill()
        request_id = uuid.uuid4().hex
        for _ in range(10):
            _ask(stubs, request_id)
        assert _spread(servers, request_id) == [0, 10]


def test_the_addresses_of_a_name_are_resolved(live_server: LiveServer) -> None:
    with calling(f"dns:///localhost:{live_server.port}") as stubs:
        _ask(stubs, uuid.uuid4().hex)


def test_a_write_repeated_at_another_server_gets_the_reply_of_the_first(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)
    first, second = (live_server_factory(place=place, env=env).start() for _ in range(2))
    run = run_pb2.Run(project=new_project(), name="r1")
    asked = run_pb2.CreateRunRequest(run=run, request_id=str(uuid.uuid4()))
    with calling(first.address) as stubs:
        made = stubs.runs.CreateRun(asked)
    first.kill()
    with calling(second.address) as stubs:
        assert stubs.runs.CreateRun(asked) == made
        assert len(stubs.runs.ListRuns(run_pb2.ListRunsRequest(project=run.project)).runs) == 1


def test_a_draining_server_reports_it_to_balancers_and_watchers(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    with calling(server.address) as stubs:
        project = new_project()
        stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project)))
        watching = stubs.events.WatchEvents(event_pb2.WatchEventsRequest(project=project))
        next(watching)
        health = health_pb2_grpc.HealthStub(stubs.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(health).status == SERVING
        server.send(signal.SIGTERM)
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        health.cancel()
        with refused("SERVER_STOPPING"):
            for _ in watching:
                pass
    assert server.wait() == 0


def _watch(stubs: Stubs, project: str, **fields: Any) -> Any:
    return stubs.events.WatchEvents(event_pb2.WatchEventsRequest(project=project, **fields))


def test_streams_beyond_the_limit_are_refused_with_a_retry_delay(live_server_factory: Factory) -> None:
    server, project = live_server_factory().start(), new_project()
    fast_upload.log(server.stubs(), project, "bert", {"w": random_chunks(1, 100)})
    with calling(server.address) as stubs:
        streams = []
        with refused("TOO_MANY_STREAMS") as refusal:
            for _ in range(10_000):
                streams.append(_watch(stubs, project))
                next(streams[-1])
        assert refusal.retry
        for stream in streams:
            stream.cancel()


def test_a_client_that_pings_far_too_often_is_not_cut(live_server: LiveServer) -> None:
    """Frame by frame: gRPC's own clients would not ping as often."""
    pings = 100
    with socket.create_connection(("127.0.0.1", live_server.port), timeout=30) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS))
        with connection.makefile("rb") as replies:
            for number in range(pings):
                connection.sendall(_frame(PING, number.to_bytes(8, "big")))
                while (frame := _read_frame(replies))[:2] != (PING, ACK):
                    assert frame[0] != GOAWAY
                assert frame[2] == number.to_bytes(8, "big")


def _frame(kind: int, body: bytes = b"") -> bytes:
    """A frame of HTTP/2 on stream 0, without flags."""
    return len(body).to_bytes(3, "big") + bytes([kind, 0]) + bytes(4) + body


def _read_frame(source: BinaryIO) -> tuple[int, int, bytes]:
    """Type, flags and body of the next frame."""
    head = source.read(9)
    assert len(head) == 9, "the server closed the connection"
    return head[3], head[4], source.read(int.from_bytes(head[:3], "big"))


def test_a_connection_that_died_silently_is_found_by_pings(live_server: LiveServer) -> None:
    project = new_project()
    fast_upload.log(live_server.stubs(), project, "bert", {"w": random_chunks(1, 100)})
    pinging = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_timeout_ms", 1000),
        ("grpc.http2.ping_timeout_ms", 1000),
    ]
    with TcpProxy(live_server.port) as proxy, calling(proxy.address, options=pinging) as stubs:
        watching = _watch(stubs, project)
        next(watching)
        proxy.silent = True
        with pytest.raises(grpc.RpcError) as caught:
            next(watching)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_message_above_four_mebibytes_is_refused_without_details(live_server: LiveServer) -> None:
    header = pb.VersionHeader(project=new_project(), name="bert")

    def upload(size: int) -> Any:
        messages = [
            pb.UploadModelArtifactRequest(header=header),
            pb.UploadModelArtifactRequest(path="w", data=os.urandom(size)),
        ]
        with calling(live_server.address) as stubs:
            return stubs.artifacts.UploadModelArtifact(iter(messages), timeout=30)

    with pytest.raises(grpc.RpcError) as caught:
        upload((4 << 20) + 1)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert rpc_status.from_call(caught.value) is None
    with refused("INVALID_FIELD", "data"):
        upload((2 << 20) + 1)
    assert upload(2 << 20).version.size_bytes == 2 << 20


def test_metadata_of_a_call_has_its_limit_too(live_server: LiveServer) -> None:
    with calling(live_server.address) as stubs:
        ask = stubs.registry.ListRegisteredModels
        ask(ListRegisteredModelsRequest(), metadata=[("x-note", "a" * 7000)])
        with pytest.raises(grpc.RpcError) as caught:
            ask(ListRegisteredModelsRequest(), metadata=[("x-note", "a" * 40_000)])
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


STREAMS = [
    (service.full_name, method)
    for module in PROMISED
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.client_streaming or method.server_streaming
]


@pytest.mark.parametrize(("service", "method"), STREAMS, ids=lambda given: getattr(given, "name", ""))
def test_a_stream_to_an_address_without_a_server_is_unavailable(
    service: str, method: MethodDescriptor
) -> None:
    """Well before the timeout given here, since the stream has no deadline of its own."""
    path = f"/{service}/{method.name}"
    with grpc.insecure_channel(f"127.0.0.1:{free_port()}", options=OPTIONS) as channel:
        if method.client_streaming and method.server_streaming:
            call = channel.stream_stream(path)(iter([b""]), timeout=120)
        elif method.client_streaming:
            call = channel.stream_unary(path).future(iter([b""]), timeout=120)
        else:
            call = channel.unary_stream(path)(b"", timeout=120)
        assert call.code() == grpc.StatusCode.UNAVAILABLE
