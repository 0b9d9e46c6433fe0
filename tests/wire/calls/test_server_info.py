"""GetServerInfo and GetCaller: what a server is and accepts, and whom it takes the caller for."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import modelyard
from modelyard.v1 import model_artifact_pb2 as artifacts_pb
from modelyard.v1 import server_pb2 as pb
from modelyard.version import __version__
from tests.clients.commands import json_of, run_command
from tests.clients.refusals import refused
from tests.parts.server import PROMISED, Factory, LiveServer, run_server_command

VECTORS = Path(__file__).parents[3] / "proto" / "chunking-vectors.json"


def info(server: LiveServer, token: str | None = None) -> Any:
    return server.stubs(token).server.GetServerInfo(pb.GetServerInfoRequest())


def test_server_info_has_the_chunking_and_the_services(any_live_server: LiveServer) -> None:
    found = info(any_live_server)
    assert found.version == __version__
    promised = {
        service.full_name for module in PROMISED for service in module.DESCRIPTOR.services_by_name.values()
    }
    assert promised <= set(found.services)
    said = {field.name: value for field, value in found.chunking.ListFields()}
    expected = json.loads(VECTORS.read_text())["parameters"]
    numbers = {value for value in expected.values() if isinstance(value, int) and value}
    assert numbers <= set(said.values())
    assert said["algorithm"] == "FAST_CDC_2020"


def test_server_info_is_the_same_for_every_caller(live_server: LiveServer) -> None:
    assert info(live_server) == info(live_server, "")


def test_the_limits_are_those_that_the_server_keeps(live_server_factory: Factory) -> None:
    server = live_server_factory("--max-version-files", "3").start()
    found = info(server)
    assert found.limits.version_files == 3
    stubs = server.stubs()
    request = artifacts_pb.ListModelArtifactVersionsRequest(page_size=found.limits.page_items + 1)
    assert list(stubs.artifacts.ListModelArtifactVersions(request).versions) == []
    asked = [artifacts_pb.GetModelArtifactVersionRequest(ref="x")] * (found.limits.page_items + 1)
    with refused("INVALID_FIELD"):
        stubs.artifacts.BatchGetModelArtifactVersions(
            artifacts_pb.BatchGetModelArtifactVersionsRequest(requests=asked)
        )


def test_get_caller_returns_the_caller(live_server_factory: Factory) -> None:
    server = live_server_factory()
    made = run_server_command("key", "create", "alice", "--entity", "team", *server.place)
    server.start()
    token = made.stdout.strip()
    found = server.stubs(token).server.GetCaller(pb.GetCallerRequest()).caller
    assert (found.principal, found.entity) == ("alice", "team")
    assert uuid.UUID(found.principal_id).version == 7
    with refused("KEY_MISSING"):
        info(server, "")
    with refused("KEY_MISSING"):
        server.stubs("").server.GetCaller(pb.GetCallerRequest())


def test_the_sdk_and_the_command_line_show_server_info(embedded: Path) -> None:
    found = modelyard.Api().server_info()
    assert (found.version, found.principal) == (__version__, "local")
    said = json_of("info")
    assert said["limits"] == found.limits
    assert f"modelyard {__version__}" in run_command("info").stdout
