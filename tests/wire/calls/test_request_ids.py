"""Retries by request_id, permissions, and errors that nobody foresaw."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from modelyard.v1 import run_pb2
from modelyard_server.rpc.dispatch.methods import METHODS
from tests.clients.refusals import refused
from tests.parts.server import MODULES, LiveServer, new_project, reason

OPEN_MODULES = (health_pb2, reflection_pb2)
NEW_REFLECTION = {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"}  # has no module


def services(*modules: Any) -> list[ServiceDescriptor]:
    return [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]


def names(*modules: Any) -> set[str]:
    return {
        f"/{service.full_name}/{method.name}" for service in services(*modules) for method in service.methods
    }


def test_every_call_of_every_service_is_in_the_permission_table_and_no_other() -> None:
    assert set(METHODS) == names(*MODULES, *OPEN_MODULES) | NEW_REFLECTION


def test_only_health_and_reflection_are_open() -> None:
    opened = {name for name, method in METHODS.items() if method.open}
    assert opened == names(*OPEN_MODULES) | NEW_REFLECTION


def test_every_unary_call_with_a_request_id_writes() -> None:
    for service in services(*MODULES):
        for method in service.methods:
            if "request_id" in method.input_type.fields_by_name:
                assert METHODS[f"/{service.full_name}/{method.name}"].write, method.full_name


def test_every_call_says_whether_it_may_be_sent_again() -> None:
    # The first reads, and stores the hashes that it computed; the second makes another link each time.
    repeatable = {"HashModelArtifactFiles", "OpenWeb"}
    said, expected = {}, {}
    for service in services(*MODULES):
        for method in service.methods:
            reads = not METHODS[f"/{service.full_name}/{method.name}"].write
            said[method.full_name] = method.GetOptions().idempotency_level
            if reads and method.name not in repeatable:
                expected[method.full_name] = MethodOptions.NO_SIDE_EFFECTS
            elif "request_id" in method.input_type.fields_by_name:
                expected[method.full_name] = MethodOptions.IDEMPOTENCY_UNKNOWN
            else:
                expected[method.full_name] = MethodOptions.IDEMPOTENT
    assert said == expected


def test_a_request_sent_again_gets_the_same_reply_and_takes_effect_once(any_live_server: LiveServer) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    request = run_pb2.CreateRunRequest(run=run_pb2.Run(project=project), request_id=f"make-{project}")
    first = stubs.runs.CreateRun(request)
    stubs.runs.FinishRun(run_pb2.FinishRunRequest(id=first.run.id))
    assert stubs.runs.CreateRun(request) == first
    assert len(stubs.runs.ListRuns(run_pb2.ListRunsRequest(project=project)).runs) == 1


def test_requests_sent_at_once_take_effect_once(any_live_server: LiveServer) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    request = run_pb2.CreateRunRequest(run=run_pb2.Run(project=project), request_id=f"once-{project}")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: stubs.runs.CreateRun(request), range(8)))
    assert all(reply == replies[0] for reply in replies)
    assert len(stubs.runs.ListRuns(run_pb2.ListRunsRequest(project=project)).runs) == 1


def test_a_request_id_with_other_content_is_refused(any_live_server: LiveServer) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    id_ = f"reused-{project}"
    stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project), request_id=id_))
    other = run_pb2.CreateRunRequest(run=run_pb2.Run(project=project, notes="x"), request_id=id_)
    with pytest.raises(grpc.RpcError) as failure:
        stubs.runs.CreateRun(other)
    assert reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


def test_a_request_that_failed_may_be_sent_again_with_the_same_id(any_live_server: LiveServer) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    must = run_pb2.CreateRunRequest(
        run=run_pb2.Run(project=project, name="r"),
        resume=run_pb2.RESUME_POLICY_MUST,
        request_id=f"f-{project}",
    )
    with pytest.raises(grpc.RpcError) as failure:
        stubs.runs.CreateRun(must)
    assert reason(failure) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project, name="r")))
    assert stubs.runs.CreateRun(must).resumed


@pytest.mark.parametrize("request_id", ["x" * 129, "a\x00b", "a\u202eb"])
def test_a_bad_request_id_is_refused_and_named(live_server: LiveServer, request_id: str) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        live_server.stubs().runs.CreateRun(run_pb2.CreateRunRequest(request_id=request_id))
    assert reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "request_id" in failure.value.details()


def raw(server: LiveServer, kind: str, method: str) -> Callable[..., Any]:
    """A call that sends bytes as they are."""
    made: Callable[..., Any] = getattr(server.stubs().channel, kind)(
        method, request_serializer=None, response_deserializer=None
    )
    return made


def garbage(server: LiveServer, service: ServiceDescriptor, method: Any) -> None:
    name = f"/{service.full_name}/{method.name}"
    kind = "_".join(
        "stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming)
    )
    request = iter([b"\xff\xff\xff"]) if method.client_streaming else b"\xff\xff\xff"
    metadata = (("authorization", f"Bearer {server.token}"),)
    reply = raw(server, kind, name)(request, metadata=metadata, timeout=10)
    if method.server_streaming:
        list(reply)


@pytest.mark.parametrize(
    ("service", "method"),
    [(service, method) for service in services(*MODULES) for method in service.methods],
    ids=lambda descriptor: descriptor.name,
)
def test_bytes_that_are_no_message_are_an_invalid_argument(
    live_server: LiveServer, service: ServiceDescriptor, method: Any
) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        garbage(live_server, service, method)
    assert reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


@pytest.mark.parametrize("kind", ["unary_unary", "stream_stream"])
@pytest.mark.parametrize("method", ["/modelyard.v1.RunService/Nope", "/other.v2.Service/GetRun", "/nothing"])
def test_a_method_or_service_that_does_not_exist_is_unimplemented(
    live_server: LiveServer, kind: str, method: str
) -> None:
    call = raw(live_server, kind, method)
    with refused("UNIMPLEMENTED") as refusal:
        call(b"", timeout=10) if kind == "unary_unary" else list(call(iter([b"x" * 5000]), timeout=10))
    assert refusal.metadata == {"method": method}


def test_a_message_over_four_mebibytes_is_refused(live_server: LiveServer) -> None:
    request: Message = run_pb2.CreateRunRequest(run=run_pb2.Run(notes="x" * (5 << 20)))
    with pytest.raises(grpc.RpcError) as failure:
        live_server.stubs().runs.CreateRun(request)
    assert failure.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_long_error_still_fits_the_headers(live_server: LiveServer) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        live_server.stubs().runs.GetRun(run_pb2.GetRunRequest(ref=f"e/{'p' * 100_000}/r"))
    assert reason(failure)[0] in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}
