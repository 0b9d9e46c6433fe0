"""Tools that have no protos find out everything by reflection: services, methods, messages, fields."""

from __future__ import annotations

import json
import subprocess

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.parts.server import LiveServer, new_project
from tests.server.process.test_server_start import built


def grpcurl(server: LiveServer, *arguments: str, flags: tuple[str, ...] = ()) -> str:
    """What grpcurl prints, which has no protos here."""
    done = subprocess.run(
        [built("grpcurl"), "-plaintext", *flags, server.address, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("symbol", "said"),
    [
        ("modelyard.v1.RunService", "service RunService"),
        ("modelyard.v1.RunService.GetRun", "rpc GetRun ( .modelyard.v1.GetRunRequest )"),
        ("modelyard.v1.GetRunRequest", "message GetRunRequest"),
        ("modelyard.v1.GetRunRequest.ref", "string ref = 2"),
        ("modelyard.v1.RunState", "enum RunState"),
        ("grpc.health.v1.Health.Check", "rpc Check"),
        ("grpc.reflection.v1.ServerReflection", "service ServerReflection"),
        ("grpc.reflection.v1.ServerReflection.ServerReflectionInfo", "rpc ServerReflectionInfo"),
    ],
)
def test_every_kind_of_symbol_is_described(live_server: LiveServer, symbol: str, said: str) -> None:
    assert said in grpcurl(live_server, "describe", symbol)


def test_a_call_is_made_without_protos(live_server: LiveServer) -> None:
    project = new_project()
    request = json.dumps({"run": {"project": project}})
    flags = ("-d", request, "-H", f"authorization: Bearer {live_server.token}")
    made = json.loads(grpcurl(live_server, "modelyard.v1.RunService/CreateRun", flags=flags))
    assert made["run"]["project"] == project


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_both_versions_of_reflection_answer(live_server: LiveServer, version: str) -> None:
    symbols = {"modelyard.v1.RunService.GetRun": True, "modelyard.v1.RunService.Nothing": False, "x": False}
    requests = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol) for symbol in symbols]
    with grpc.insecure_channel(live_server.address) as channel:
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        replies = list(ask(iter(requests), timeout=30))
    for reply, known in zip(replies, symbols.values(), strict=True):
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(data).name
            for data in reply.file_descriptor_response.file_descriptor_proto
        ]
        assert ("modelyard/v1/run.proto" in files) == known
        assert bool(reply.error_response.error_code) != known
