"""Starting and stopping the server: what it prints, whom it refuses, how it ends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from modelyard.v1 import registered_model_pb2, run_pb2, server_pb2, upload_pb2
from tests.clients import fast_upload
from tests.clients.waiting import until
from tests.parts.certificates import certificate_for_localhost
from tests.parts.processes import built
from tests.parts.server import (
    Factory,
    LiveServer,
    Stubs,
    new_project,
    production_place,
    run_server_command,
)

SERVICES = {
    "modelyard.v1.RunService",
    "modelyard.v1.MetricService",
    "modelyard.v1.EventService",
    "modelyard.v1.ModelArtifactService",
    "modelyard.v1.RegisteredModelService",
    "modelyard.v1.AliasService",
    "modelyard.v1.UploadService",
    "modelyard.v1.ProjectService",
    "modelyard.v1.ServerService",
}


def make_run(server: LiveServer, token: str | None = None) -> run_pb2.Run:
    request = run_pb2.CreateRunRequest(run=run_pb2.Run(project=new_project()))
    made: run_pb2.Run = server.stubs(token).runs.CreateRun(request).run
    return made


def test_health_is_serving_for_the_server_and_every_service(live_server: LiveServer) -> None:
    health = live_server.stubs("").health
    for name in ("", *SERVICES):
        reply = health.Check(health_pb2.HealthCheckRequest(service=name))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_grpcurl_lists_every_service(live_server: LiveServer) -> None:
    grpcurl = built("grpcurl")
    listed = subprocess.run(
        [grpcurl, "-plaintext", live_server.address, "list"], capture_output=True, text=True, check=True
    )
    assert set(listed.stdout.split()) >= SERVICES


def test_a_server_prints_its_address_and_data_folder(live_server_factory: Factory) -> None:
    server = live_server_factory(interpreted=True).start()
    assert f"modelyard serves grpc://127.0.0.1:{server.port} (data: {server.data})" in server.log.read_text()


def test_server_json_is_private_and_removed_at_a_clean_stop(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    path = server.data / "server.json"
    content = json.loads(path.read_text())
    assert content["address"] == server.url
    assert content["pid"] == server.pid
    assert len(content["token"]) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server.stop() == 0
    assert not path.exists()


def test_writes_survive_a_kill_and_restart(live_server_factory: Factory) -> None:
    server = live_server_factory(interpreted=True).start()
    made = make_run(server)
    server.kill()
    server.restart()
    assert server.stubs().runs.GetRun(run_pb2.GetRunRequest(id=made.id)).run == made


def test_an_embedded_server_accepts_its_token_only(live_server_factory: Factory) -> None:
    server = live_server_factory("--embedded").start()
    assert make_run(server).created_by == "local"
    with pytest.raises(grpc.RpcError) as without:
        make_run(server, token="")
    assert without.value.code() == grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.RpcError) as wrong:
        make_run(server, token="guessed")
    assert wrong.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_an_embedded_server_ends_when_it_is_idle(live_server_factory: Factory) -> None:
    server = live_server_factory("--embedded", "--idle-seconds", "1").start()
    assert make_run(server).id
    assert server.wait(10) == 0
    assert not (server.data / "server.json").exists()


def test_an_embedded_server_runs_while_a_stream_is_open(live_server_factory: Factory) -> None:
    server = live_server_factory("--embedded", "--idle-seconds", "0.5").start()
    done = threading.Event()
    stream = _open_upload(server, done)
    time.sleep(1)
    assert server.exit_code is None
    done.set()
    assert list(stream) == []
    assert server.wait(10) == 0


def _open_upload(server: LiveServer, done: threading.Event) -> Any:
    """A stream of which the server has acknowledged a chunk; open until `done` is set."""
    stubs, (data,) = server.stubs(), fast_upload.random_chunks(1, 1000)
    upload_id = fast_upload.create(stubs)

    def messages() -> Iterator[upload_pb2.UploadChunksRequest]:
        yield upload_pb2.UploadChunksRequest(
            upload_id=upload_id, chunks=[fast_upload.message_chunk(data)], data=data
        )
        done.wait(15)

    stream = stubs.uploads.UploadChunks(messages(), timeout=20)
    assert next(stream).durable_chunks == 1
    return stream


def test_a_second_server_over_the_folder_names_the_first(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    second = run_server_command("start", "--data", str(server.data), "--port", "0")
    assert second.returncode == 1
    assert f"process {server.pid} " in second.stderr
    assert "--data" in second.stderr


def test_listening_on_all_addresses_needs_a_key(live_server_factory: Factory, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    refused = run_server_command("start", *data, "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 1
    assert "modelyard server key create" in refused.stderr
    made = run_server_command("key", "create", "ada", *data)
    assert made.returncode == 0, made.stderr
    server = live_server_factory("--host", "0.0.0.0", place=data).start()
    with pytest.raises(grpc.RpcError) as without:
        make_run(server, token="")
    assert without.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert make_run(server, token=made.stdout.strip()).created_by == "ada"


def test_no_auth_accepts_calls_without_a_key(live_server_factory: Factory) -> None:
    server = live_server_factory("--host", "0.0.0.0", "--no-auth").start()
    assert make_run(server, token="").created_by == "local"


def test_a_port_in_use_is_an_error_with_a_reason(live_server: LiveServer, tmp_path: Path) -> None:
    again = run_server_command("start", "--data", str(tmp_path / "data"), "--port", str(live_server.port))
    assert again.returncode == 1
    assert f"Error: cannot listen on {live_server.address}" in again.stderr


def test_a_store_of_another_database_is_refused(live_server_factory: Factory, tmp_path: Path) -> None:
    first = live_server_factory().start()
    first.stop()
    (first.data / "store" / "store-id").write_text("00000000-0000-0000-0000-000000000000\n")
    again = run_server_command("start", "--data", str(first.data), "--port", "0")
    assert again.returncode == 1
    assert "belongs to another database" in again.stderr


def test_an_emptied_store_is_refused(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    server.stop()
    (server.data / "store").rename(server.data / "lost")
    again = run_server_command("start", "--data", str(server.data), "--port", "0")
    assert again.returncode == 1
    assert "is empty, or is another store" in again.stderr


def test_sigterm_drains_the_calls_that_run(live_server_factory: Factory) -> None:
    server = live_server_factory(interpreted=True).start()
    stubs = server.stubs()
    done = threading.Event()
    stream = _open_upload(server, done)
    health = stubs.health.Watch(health_pb2.HealthCheckRequest())
    assert next(health).status == health_pb2.HealthCheckResponse.SERVING
    server.send(signal.SIGTERM)
    assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
    with pytest.raises(grpc.RpcError) as refused:
        make_run(server)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert server.exit_code is None
    health.cancel()
    done.set()
    assert list(stream) == []
    assert server.wait(10) == 0


def test_calls_end_with_their_reply_or_as_unavailable_when_a_busy_server_stops(
    live_server_factory: Factory,
) -> None:
    server = live_server_factory().start()
    found: Counter[str] = Counter()
    over = threading.Event()

    def call(stubs: Stubs) -> None:
        """Calls without a pause; after a refusal it waits as long as most refusals ask for."""
        while not over.is_set():
            try:
                stubs.server.GetServerInfo(server_pb2.GetServerInfoRequest(), timeout=20)
                found["OK"] += 1
            except grpc.RpcError as refusal:
                found[refusal.code().name] += 1
                over.wait(0.5)

    with ThreadPoolExecutor(16) as pool:
        calling = [pool.submit(call, server.stubs()) for _ in range(16)]
        try:
            until(lambda: found["OK"] > 500)
            server.send(signal.SIGTERM)
            assert server.wait(20) == 0
        finally:
            over.set()
    for each in calling:
        each.result()
    assert set(found) == {"OK", "UNAVAILABLE"}


def test_a_second_signal_ends_a_server_at_once(live_server_factory: Factory) -> None:
    server = live_server_factory(interpreted=True).start()
    done = threading.Event()
    stream = _open_upload(server, done)
    health = server.stubs().health.Watch(health_pb2.HealthCheckRequest())
    assert next(health).status == health_pb2.HealthCheckResponse.SERVING
    server.send(signal.SIGINT)
    assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert server.exit_code is None
    server.send(signal.SIGINT)
    assert server.wait(5) == 1
    done.set()
    assert stream.code() == grpc.StatusCode.UNAVAILABLE


def test_a_server_serves_over_tls(live_server_factory: Factory, tmp_path: Path) -> None:
    certificate, key = certificate_for_localhost(tmp_path)
    server = live_server_factory("--tls-cert", str(certificate), "--tls-key", str(key)).start()
    assert server.url.startswith("grpcs://")
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    with grpc.secure_channel(server.address, credentials) as channel:
        call = channel.unary_unary("/modelyard.v1.RegisteredModelService/ListRegisteredModels")
        reply = call(registered_model_pb2.ListRegisteredModelsRequest().SerializeToString(), timeout=10)
    assert registered_model_pb2.ListRegisteredModelsResponse.FromString(reply).registered_models == []


def test_options_come_from_the_environment(live_server_factory: Factory, tmp_path: Path) -> None:
    env = {"MODELYARD_DATA_DIR": str(tmp_path / "elsewhere"), "MODELYARD_SERVER_NO_AUTH": "1"}
    server = live_server_factory(place=(), env=env).start()
    assert (tmp_path / "elsewhere" / "modelyard.db").exists()
    assert server.stop() == 0


def test_workers_share_a_port_and_are_replaced(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)
    server = live_server_factory("--workers", "2", place=place, env=env).start()
    assert make_run(server).id
    first = _children(server.pid)
    assert len(first) == 2
    os.kill(first[0], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (now := _children(server.pid)) == first or len(now) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert make_run(server).id
    assert server.stop() == 0
    for child in now:
        assert not Path(f"/proc/{child}").exists()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_workers_need_postgresql(tmp_path: Path) -> None:
    refused = run_server_command("start", "--data", str(tmp_path), "--workers", "2")
    assert refused.returncode == 1
    assert "--workers needs PostgreSQL" in refused.stderr
