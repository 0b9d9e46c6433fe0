"""docs/calling.md on deadlines, retries and `request_id`, tried with gRPC's own retries."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc_status import rpc_status

from modelyard.v1 import alias_pb2, run_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.plain_stubs import SERVICE_CONFIG, calling, lines_about
from tests.clients.refusals import refused
from tests.clients.waiting import until
from tests.parts.server import PROMISED, Factory, LiveServer, Stubs, new_project, production_place
from tests.parts.tcp_proxy import TcpProxy

PAGE = Path(__file__).parents[2] / "docs" / "calling.md"
CONFIG = json.loads(SERVICE_CONFIG.read_text())
METHODS: list[MethodDescriptor] = [
    method
    for module in PROMISED
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
_SECONDS = re.compile(r"[0-9]+(\.[0-9]{1,9})?s")


def _settings(method: MethodDescriptor) -> dict[str, Any]:
    """What the service config says about a method: by its own name, else by its service's."""
    service = method.containing_service.full_name
    for name in ({"service": service, "method": method.name}, {"service": service}):
        found = [entry for entry in CONFIG["methodConfig"] if name in entry["name"]]
        if found:
            assert len(found) == 1, f"{name} is named twice"
            return dict(found[0])
    raise AssertionError(f"the service config does not name {method.full_name}")


def _is_unary(method: MethodDescriptor) -> bool:
    return not method.client_streaming and not method.server_streaming


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_service_config_fits_the_kind_of_each_method(method: MethodDescriptor) -> None:
    settings = _settings(method)
    # What waits for a server without a deadline waits for ever where there is none.
    assert settings["waitForReady"] == ("timeout" in settings) == _is_unary(method)
    assert ("retryPolicy" in settings) == (not method.client_streaming)


def test_the_service_config_names_no_method_that_is_not_there() -> None:
    there = {(method.containing_service.full_name, method.name) for method in METHODS}
    services = {service for service, _ in there}
    for entry in CONFIG["methodConfig"]:
        for name in entry["name"]:
            known = (
                (name["service"], name["method"]) in there
                if "method" in name
                else name["service"] in services
            )
            assert known, name


@pytest.mark.parametrize("policy", [e["retryPolicy"] for e in CONFIG["methodConfig"] if "retryPolicy" in e])
def test_its_retries_are_within_the_limits_of_every_grpc_library(policy: dict[str, Any]) -> None:
    assert 2 <= policy["maxAttempts"] <= 5
    assert policy["backoffMultiplier"] > 0
    for name in ("initialBackoff", "maxBackoff"):
        assert _SECONDS.fullmatch(policy[name])
        assert float(policy[name][:-1]) > 0
    assert policy["retryableStatusCodes"] == ["UNAVAILABLE"]


def test_the_page_gives_the_deadlines_of_the_service_config() -> None:
    page = PAGE.read_text()
    resolving = [method for method in METHODS if f"`{method.name}`" in page and _is_unary(method)]
    by_name = {method.name: _settings(method)["timeout"] for method in resolving}
    assert by_name["GetModelArtifactVersion"] == by_name["GetRegisteredModelVersion"] == "15s"
    assert "`GetModelArtifactVersion`, `GetRegisteredModelVersion` | 15 s |" in page
    others = [method for method in METHODS if _is_unary(method) and _settings(method)["timeout"] != "15s"]
    assert {_settings(method)["timeout"] for method in others} == {"60s"}


def test_writes_without_a_request_id_are_those_the_page_names() -> None:
    reading = ("Get", "List", "BatchGet", "Compare")
    without = {
        method.name
        for method in METHODS
        if _is_unary(method)
        and not method.name.startswith(reading)
        and "request_id" not in method.input_type.fields_by_name
    }
    assert without == {"LogMetrics", "LogConsoleLines", "HeartbeatRun", "FindMissingChunks", "DeleteUpload"}
    assert all(f"`{name}`" in PAGE.read_text() for name in without)


def _create_run(stubs: Stubs, project: str, **options: Any) -> Any:
    run = run_pb2.Run(project=project, name="r1", display_name="first")
    return stubs.runs.CreateRun(
        run_pb2.CreateRunRequest(run=run, request_id=str(uuid.uuid4())), **options
    ).run


def _runs(stubs: Stubs, project: str) -> list[Any]:
    return list(stubs.runs.ListRuns(run_pb2.ListRunsRequest(project=project)).runs)


def test_a_write_whose_reply_was_lost_is_repeated_and_takes_effect_once(any_live_server: LiveServer) -> None:
    project, direct = new_project(), any_live_server.stubs()
    with (
        TcpProxy(any_live_server.port) as proxy,
        calling(proxy.address) as stubs,
        ThreadPoolExecutor(1) as pool,
    ):
        stubs.runs.ListRuns(run_pb2.ListRunsRequest(project=_existing(direct)))
        proxy.lose_replies = True
        call: Future[Any] = pool.submit(_create_run, stubs, project)
        until(lambda: _exists(direct, project))
        proxy.lose_replies = False
        proxy.cut()
        assert call.result(timeout=30).id == _runs(direct, project)[0].id
        assert proxy.accepted > 1
    assert len(_runs(direct, project)) == 1


def _existing(stubs: Stubs) -> str:
    project = new_project()
    _create_run(stubs, project)
    return project


def _exists(stubs: Stubs, project: str) -> bool:
    with contextlib.suppress(grpc.RpcError):  # there is no such project before the first write
        return bool(_runs(stubs, project))
    return False


def test_a_call_to_a_server_that_is_killed_and_started_again_succeeds(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    with calling(server.address) as stubs, ThreadPoolExecutor(2) as pool:
        project = _existing(stubs)
        server.send(signal.SIGSTOP)
        under_way = pool.submit(_create_run, stubs, project + "-a")
        server.kill()
        while_away = pool.submit(_create_run, stubs, project + "-b")
        server.start()
        assert under_way.result(timeout=60).name == while_away.result(timeout=60).name == "r1"
        assert len(_runs(stubs, project + "-a")) == len(_runs(stubs, project + "-b")) == 1


def test_a_shorter_deadline_of_the_caller_applies_and_has_no_reason(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    with calling(server.address) as stubs:
        project = _existing(stubs)
        server.kill()
        with pytest.raises(grpc.RpcError) as caught:
            stubs.runs.ListRuns(run_pb2.ListRunsRequest(project=project), timeout=0.5)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert rpc_status.from_call(caught.value) is None


def _upload(stubs: Stubs, project: str, data: bytes, request_id: str, **options: Any) -> Any:
    header = pb.VersionHeader(project=project, name="bert")
    messages = [
        pb.UploadModelArtifactRequest(header=header, request_id=request_id),
        pb.UploadModelArtifactRequest(path="w", data=data),
    ]
    return stubs.artifacts.UploadModelArtifact(iter(messages), **options)


def test_a_write_past_its_deadline_completes_and_a_repetition_gets_its_reply(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)
    failpoints = {"MODELYARD_FAILPOINTS": "commit.inside=sleep(3)@1"}
    server = live_server_factory(place=place, env={**env, **failpoints}).start()
    project, data, request_id = new_project(), os.urandom(1000), str(uuid.uuid4())
    with calling(server.address) as stubs:
        with pytest.raises(grpc.RpcError) as caught:
            _upload(stubs, project, data, request_id, timeout=2)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        again = _upload(stubs, project, data, request_id)
        # True: it is the reply of the first attempt. Content that was there before would say False.
        assert (again.version.number, again.created) == (0, True)
        versions = stubs.artifacts.ListModelArtifactVersions(
            pb.ListModelArtifactVersionsRequest(ref=f"{project}/bert")
        ).versions
        assert [version.id for version in versions] == [again.version.id]


def test_an_upload_is_not_repeated_by_the_service_config_but_by_its_request_id(
    live_server_factory: Factory,
) -> None:
    server = live_server_factory(env={"MODELYARD_FAILPOINTS": "commit.after=kill"}).start()
    project, data, request_id = new_project(), os.urandom(1000), str(uuid.uuid4())
    with calling(server.address) as stubs:
        with pytest.raises(grpc.RpcError) as caught:
            _upload(stubs, project, data, request_id, timeout=30)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        server.wait()
        server.env.clear()
        server.start()
    with calling(server.address) as stubs:
        again = _upload(stubs, project, data, request_id)
        assert (again.version.number, again.created) == (0, True)


def test_a_download_that_was_cut_goes_on_at_its_offset(any_live_server: LiveServer) -> None:
    project, chunks = new_project(), random_chunks(8, 1 << 20)
    made = fast_upload.log(any_live_server.stubs(), project, "bert", {"w": chunks})
    got = bytearray()
    with TcpProxy(any_live_server.port) as proxy, calling(proxy.address) as stubs:

        def read_on() -> None:
            question = pb.DownloadFileRequest(id=made.version.id, path="w", offset=len(got))
            for part in stubs.artifacts.DownloadFile(question):
                got.extend(part.data)

        proxy.cut_in_reply = 5 << 20
        with pytest.raises(grpc.RpcError) as caught:
            read_on()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert 0 < len(got) < 8 << 20
        read_on()
    assert bytes(got) == b"".join(chunks)


def test_a_conflicting_move_of_an_alias_is_not_retried(live_server: LiveServer) -> None:
    project, request_id = new_project(), uuid.uuid4().hex
    with calling(live_server.address) as stubs:
        fast_upload.log(stubs, project, "bert", {"w": random_chunks(1, 100)})
        change = alias_pb2.UpdateAliasesRequest(
            ref=f"{project}/bert",
            updates=[alias_pb2.AliasUpdate(alias="best", version="v0", expected_version="v7")],
            request_id=uuid.uuid4().hex,
        )
        with refused("ALIAS_CHANGED"):
            stubs.aliases.UpdateAliases(change, metadata=[("x-request-id", request_id)])
    assert len(lines_about(live_server, request_id)) == 1


def test_a_call_to_an_unavailable_database_is_tried_five_times(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)
    database = place[1]
    port = re.search(r"127\.0\.0\.1:([0-9]+)", database)
    assert port is not None
    request_id = uuid.uuid4().hex
    with TcpProxy(int(port[1])) as proxy:
        through = (place[0], database.replace(port[0], proxy.address), *place[2:])
        server = live_server_factory(place=through, env=env).start()
        with calling(server.address) as stubs:
            project = _existing(stubs)
            proxy.target, there = 1, proxy.target
            proxy.cut()
            question = run_pb2.ListRunsRequest(project=project)
            with refused("DATABASE_UNAVAILABLE") as refusal:
                stubs.runs.ListRuns(question, metadata=[("x-request-id", request_id)])
            assert refusal.retry
            assert len(lines_about(server, request_id)) == 5
            back = threading.Timer(0.3, lambda: setattr(proxy, "target", there))
            back.start()
            assert len(stubs.runs.ListRuns(question).runs) == 1
            back.join()
        server.stop()
