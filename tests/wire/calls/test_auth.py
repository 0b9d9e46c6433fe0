"""API keys: who needs one, what it permits, and when it is no longer accepted."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from modelyard.v1 import metric_pb2
from modelyard.v1 import run_pb2 as pb
from tests.clients.commands import refused
from tests.parts.embedded import isolate
from tests.parts.server import LiveServer, reason, run_server_command


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose database has keys."""
    live = LiveServer(tmp_path_factory.mktemp("auth"))
    key(live, "create", "admin", "--all-entities")
    try:
        yield live.start()
    finally:
        live.close()


def key(server: LiveServer, *arguments: str) -> str:
    done = run_server_command("key", *arguments, *server.place)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_method_that_does_not_exist_is_unimplemented_without_a_key_too(server: LiveServer) -> None:
    call = server.stubs().channel.unary_unary("/modelyard.v1.RunService/Nope")
    with pytest.raises(grpc.RpcError) as failure:
        call(b"", timeout=10)
    assert reason(failure) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")


def create(server: LiveServer, token: str, **fields: str) -> pb.Run:
    made: pb.Run = server.stubs(token).runs.CreateRun(pb.CreateRunRequest(run=pb.Run(**fields))).run
    return made


def first_failure(server: LiveServer, token: str, seconds: float = 10.0) -> grpc.StatusCode:
    """Calls until a call is refused."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            create(server, token, project="p")
        except grpc.RpcError as failure:
            return failure.code()
        time.sleep(0.05)
    raise AssertionError(f"calls still work after {seconds} s")


def test_a_key_is_shown_once_and_not_kept(server: LiveServer) -> None:
    text = key(server, "create", "once")
    assert re.fullmatch(r"my_[A-Za-z0-9_-]{40}", text)
    assert text not in key(server, "ls")
    for path in server.data.glob("modelyard.db*"):
        assert text.encode() not in path.read_bytes()


def test_without_a_key_nothing_but_health_answers(server: LiveServer) -> None:
    stubs = server.stubs("")
    with pytest.raises(grpc.RpcError) as failure:
        stubs.runs.ListRuns(pb.ListRunsRequest())
    assert reason(failure) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING")
    assert "modelyard login" in failure.value.details()
    status = stubs.health.Check(health_pb2.HealthCheckRequest()).status
    assert status == health_pb2.HealthCheckResponse.SERVING


def test_without_a_key_streams_do_not_answer_either(server: LiveServer) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        list(server.stubs("").metrics.ScanMetricHistory(metric_pb2.ScanMetricHistoryRequest()))
    assert reason(failure) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING")


def test_the_command_line_prints_once_how_to_store_a_key(
    server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", server.url)
    assert refused(1, "ls").count("modelyard login") == 1
    monkeypatch.setenv("MODELYARD_API_KEY", "my_unknown")
    assert refused(1, "ls").count("modelyard login") == 1


@pytest.mark.parametrize("token", ["my_" + "0" * 40, "x", "~!@#$%^&*"])
def test_an_unknown_key_is_refused(server: LiveServer, token: str) -> None:
    header = f"Bearer {token}"
    with pytest.raises(grpc.RpcError) as failure:
        server.stubs("").runs.ListRuns(pb.ListRunsRequest(), metadata=(("authorization", header),))
    assert reason(failure) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID")


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer  "])
def test_a_header_without_a_bearer_token_is_refused(server: LiveServer, header: str) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        server.stubs("").runs.ListRuns(pb.ListRunsRequest(), metadata=(("authorization", header),))
    assert reason(failure) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID")


def test_a_key_determines_its_owner_and_the_default_entity(server: LiveServer) -> None:
    run = create(server, key(server, "create", "ada", "--entity", "acme"), project="p")
    assert (run.created_by, run.entity) == ("ada", "acme")


def test_a_key_cannot_be_used_in_other_entities(server: LiveServer) -> None:
    acme, other = (key(server, "create", "eve", "--entity", entity) for entity in ("acme2", "other2"))
    run = create(server, acme, project="p")
    with pytest.raises(grpc.RpcError) as writing:
        create(server, other, entity="acme2", project="p")
    assert reason(writing) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
    stubs = server.stubs(other)
    for request in (
        lambda: stubs.runs.GetRun(pb.GetRunRequest(id=run.id)),
        lambda: stubs.runs.GetRun(pb.GetRunRequest(ref=f"acme2/p/{run.name}")),
        lambda: stubs.runs.ListRuns(pb.ListRunsRequest(entity="acme2")),
        lambda: stubs.runs.DeleteRun(pb.DeleteRunRequest(id=run.id)),
        lambda: list(stubs.metrics.ScanMetricHistory(metric_pb2.ScanMetricHistoryRequest(run_id=run.id))),
    ):
        with pytest.raises(grpc.RpcError) as reading:
            request()
        # The same as for what does not exist: names of other entities are not revealed.
        assert reason(reading) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


def test_a_key_for_all_entities_may_enter_every_entity(server: LiveServer) -> None:
    token = key(server, "create", "root", "--all-entities")
    assert create(server, token, entity="acme3", project="p").entity == "acme3"


def test_a_revoked_key_ends_within_five_seconds(server: LiveServer) -> None:
    token = key(server, "create", "leaver")
    assert create(server, token, project="p").created_by == "leaver"
    line = next(line for line in key(server, "ls").splitlines() if "leaver" in line)
    assert line.endswith("live")
    assert "is revoked" in key(server, "revoke", line.split()[0])
    assert first_failure(server, token) == grpc.StatusCode.UNAUTHENTICATED


def test_the_folders_token_works_beside_keys(server: LiveServer) -> None:
    assert create(server, server.token, project="p").created_by == "local"


def test_a_first_key_closes_a_server_that_runs_without(tmp_path: Path) -> None:
    live = LiveServer(tmp_path)
    try:
        live.start()
        assert create(live, "", project="p").created_by == "local"
        token = key(live, "create", "first")
        assert first_failure(live, "") == grpc.StatusCode.UNAUTHENTICATED
        assert create(live, token, project="p").created_by == "first"
    finally:
        live.close()


@pytest.mark.parametrize(
    "arguments", [("create", "a/b"), ("create", "a", "--entity", ".."), ("revoke", "17")]
)
def test_invalid_names_and_ids_are_reported_as_errors(server: LiveServer, arguments: tuple[str, ...]) -> None:
    done = run_server_command("key", *arguments, *server.place)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")


def test_revoking_an_unknown_key_is_reported_as_an_error(server: LiveServer) -> None:
    done = run_server_command("key", "revoke", "01890000-0000-7000-8000-000000000000", *server.place)
    assert (done.returncode, "was not found" in done.stderr) == (1, True)
