"""GetServerInfo: what a server is, what it accepts, and whom it takes the caller for."""

from __future__ import annotations

import json
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


def test_a_server_says_how_it_cuts_and_which_services_it_has(any_live_server: LiveServer) -> None:
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


def test_local_files_are_offered_to_those_who_own_the_folder_alone(live_server: LiveServer) -> None:
    assert "modelyard.local.v1.LocalService" in info(live_server).services
    assert "modelyard.local.v1.LocalService" not in info(live_server, "").services


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


def test_a_caller_learns_who_they_are(live_server_factory: Factory) -> None:
    server = live_server_factory()
    made = run_server_command("key", "create", "alice", "--entity", "team", *server.place)
    server.start()
    found = info(server, made.stdout.strip())
    assert (found.principal, found.entity, found.all_entities) == ("alice", "team", False)
    with refused("KEY_MISSING"):
        info(server, "")


def test_the_sdk_and_the_shell_show_it(embedded: Path) -> None:
    found = modelyard.Api().server_info()
    assert (found.version, found.principal, found.all_entities) == (__version__, "local", True)
    said = json_of("info")
    assert said["limits"] == found.limits
    assert f"modelyard {__version__}" in run_command("info").stdout
