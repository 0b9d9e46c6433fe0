"""Every method refuses a caller without a key, and a caller whose key is for another entity."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

import modelyard_server
from modelyard.v1 import (
    model_artifact_pb2,
    registered_model_pb2,
    run_file_pb2,
    run_pb2,
    upload_pb2,
)
from modelyard_server.rpc.dispatch.methods import METHODS
from tests.parts.server import MODULES, LiveServer, Stubs, new_project, reason, run_server_command

ENTITY = "acme"
REFUSALS = {"NOT_FOUND", "NOT_ALLOWED", "UPLOAD_EXPIRED"}
"""UPLOAD_EXPIRED is what a missing upload gets: its row goes with time."""
Request = Mapping[str, Any]

POINT = {"steps": [0], "timestamps": [1], "columns": [{"key": "loss", "doubles": [0.5]}]}

CLOSED: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Every method that needs a key, by its path."""
OF_NO_ENTITY = {"/modelyard.v1.ServerService/GetServerInfo", "/modelyard.v1.ServerService/GetCaller"}
"""Methods that take a key of any entity."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose database has a key, which is for the entity `other`."""
    live = LiveServer(tmp_path_factory.mktemp("access"))
    try:
        yield live.start()
    finally:
        live.close()


@pytest.fixture(scope="module")
def stranger(server: LiveServer) -> Stubs:
    """A caller with a key for the entity `other`."""
    made = run_server_command("key", "create", "stranger", "--entity", "other", *server.place)
    assert made.returncode == 0, made.stderr
    return server.stubs(made.stdout.strip())


@pytest.fixture(scope="module")
def owner(server: LiveServer, stranger: Stubs) -> Stubs:
    """The owner of the data folder, who may act in every entity."""
    return server.stubs()


def first_reply(stubs: Stubs, path: str, *requests: Request) -> Any:
    """Calls a method, streams too, and returns its first reply; None if there is none."""
    method = CLOSED[path]
    messages = [ParseDict(dict(request), GetMessageClass(method.input_type)()) for request in requests]
    call = stubs.channel.stream_stream(
        path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )(iter(messages), timeout=30)
    try:
        return next(iter(call), None)
    finally:
        call.cancel()


def outcome(stubs: Stubs, path: str, *requests: Request) -> str:
    """The reason of a refusal; else `found`, or `empty` for a reply without any field."""
    try:
        reply = first_reply(stubs, path, *requests)
    except grpc.RpcError as failure:
        info = pytest.ExceptionInfo.from_exception(failure)
        return reason(info)[1]
    results = getattr(reply, "results", None)
    if results is not None:
        return "found" if any(one.ListFields() for one in results) else "empty"
    return "found"


def scene(owner: Stubs) -> dict[str, str]:
    """A run, an artifact with a version, a registered model that links it, and an upload, by name."""
    project, place = new_project(), {"entity": ENTITY}
    run = owner.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project, **place))).run
    file = run_file_pb2.UploadRunFileRequest(header=run_file_pb2.RunFileHeader(run_id=run.id, path="f"))
    owner.run_files.UploadRunFile(iter([file]))
    header = model_artifact_pb2.VersionHeader(project=project, name="bert", **place)
    parts = [
        model_artifact_pb2.UploadModelArtifactRequest(header=header),
        model_artifact_pb2.UploadModelArtifactRequest(path="w"),
        model_artifact_pb2.UploadModelArtifactRequest(data=b"weights of " + project.encode()),
    ]
    version = owner.artifacts.UploadModelArtifact(iter(parts)).version
    artifact_ref, model_ref = f"{ENTITY}/{project}/bert", f"{ENTITY}/model-registry/{project}"
    link = owner.registry.LinkModelArtifactVersion(
        registered_model_pb2.LinkModelArtifactVersionRequest(id=version.id, target_ref=model_ref)
    ).version
    get_artifact = model_artifact_pb2.GetModelArtifactRequest(ref=artifact_ref)
    get_model = registered_model_pb2.GetRegisteredModelRequest(ref=model_ref)
    upload = owner.uploads.CreateUpload(upload_pb2.CreateUploadRequest(project=project, **place))
    return {
        "project": project,
        "run": run.id,
        "run_name": run.name,
        "artifact": owner.artifacts.GetModelArtifact(get_artifact).model_artifact.id,
        "artifact_ref": artifact_ref,
        "version": version.id,
        "digest": version.digest,
        "model": owner.registry.GetRegisteredModel(get_model).registered_model.id,
        "model_ref": model_ref,
        "link": link.id,
        "upload": upload.upload_id,
    }


def requests_of(path: str, at: Mapping[str, str]) -> list[list[Request]]:
    """Calls of a method about what a scene holds, by id and by ref, each with its requests."""
    service, method = path.split(".")[-1].split("/")
    return {
        "RunService": _runs,
        "MetricService": _metrics,
        "RunConsoleService": _console,
        "RunFileService": _run_files,
        "EventService": _events,
        "ModelArtifactService": _artifacts,
        "RegisteredModelService": _models,
        "AliasService": _aliases,
        "UploadService": _uploads,
        "ProjectService": _projects,
        "LocalService": _local,
    }[service](at)[method]


def _place(at: Mapping[str, str]) -> Request:
    return {"entity": ENTITY, "project": at["project"]}


def _runs(at: Mapping[str, str]) -> dict[str, list[list[Request]]]:
    by_id, place = {"id": at["run"]}, _place(at)
    return {
        "CreateRun": [[{"run": place}]],
        "GetRun": [[by_id], [{"ref": f"{ENTITY}/{at['project']}/{at['run_name']}"}]],
        "ListRuns": [[place], [{"entity": ENTITY}]],
        "ListRunKeys": [[place], [{"entity": ENTITY}]],
        "UpdateRun": [[{"run": {**by_id, "notes": "x"}, "update_mask": "notes"}]],
        "DeleteRun": [[by_id]],
        "FinishRun": [[by_id]],
        "HeartbeatRun": [[by_id]],
        "WatchRuns": [[{"runs": [{"run_id": at["run"]}]}]],
        "ListRunAttempts": [[by_id]],
    }


def _metrics(at: Mapping[str, str]) -> dict[str, list[list[Request]]]:
    return {
        "LogMetrics": [[{"run_id": at["run"], "writer": "w", "sequence": 1, "batch": POINT}]],
        "LogMetricBatches": [
            [{"batch": {"run_id": at["run"], "writer": "w", "sequence": 2, "batch": POINT}}]
        ],
        "ScanMetricHistory": [[{"run_id": at["run"]}]],
        "ListMetricKeys": [[{"run_id": at["run"]}]],
        "SampleMetrics": [[{"run_ids": [at["run"]], "keys": ["loss"]}]],
    }


def _console(at: Mapping[str, str]) -> dict[str, list[list[Request]]]:
    line = {"number": 1, "write_time": "2026-01-01T00:00:00Z", "text": "x"}
    return {
        "LogConsoleLines": [[{"run_id": at["run"], "writer": "w", "sequence": 1, "lines": [line]}]],
        "ListConsoleLines": [[{"run_id": at["run"]}]],
    }


def _run_files(at: Mapping[str, str]) -> dict[str, list[list[Request]]]:
    of_run, file = {"run_id": at["run"]}, {"run_id": at["run"], "path": "f"}
    empty = {"path": "empty", "size_bytes": 0}
    return {
        "CommitRunFiles": [[{**of_run, "upload_id": at["upload"], "entries": [empty]}]],
        "UploadRunFile": [[{"header": {**of_run, "path": "new"}}]],
        "ListRunFiles": [[of_run]],
        "DownloadRunFile": [[file]],
        "DownloadRunFiles": [[{**of_run, "paths": ["f"]}]],
        "DeleteRunFiles": [[{**of_run, "paths": ["f"]}]],
    }


def _events(at: Mapping[str, str]) -> dict[str, list[list[Request]]]:
    return {"ListEvents": [[_place(at)]], "WatchEvents": [[_place(at)], [{"entity": ENTITY}]]}


def _artifacts(at: Mapping[str, str]) -> dict[str, list[list[Request]]]:
    place, ref = _place(at), {"ref": at["artifact_ref"]}
    by_id, version, of_version = {"id": at["artifact"]}, {"id": at["version"]}, {"version_id": at["version"]}
    through = {"ref": at["model_ref"]}
    header = {**place, "name": "gpt"}
    again = {**place, "name": "bert", "digest": at["digest"]}
    range_ = {"path": "w"}
    return {
        "CreateModelArtifact": [[{"model_artifact": {**place, "name": "new", "type": "model"}}]],
        "ListModelArtifactTypes": [[place], [{"entity": ENTITY}]],
        "GetModelArtifact": [[by_id], [ref]],
        "ListModelArtifacts": [[place], [{"entity": ENTITY}]],
        "UpdateModelArtifact": [
            [{"model_artifact": {**by_id, "description": "x"}, "update_mask": "description"}]
        ],
        "DeleteModelArtifact": [[by_id]],
        "GetModelArtifactVersion": [[version], [ref], [through]],
        "BatchGetModelArtifactVersions": [[{"requests": [version, ref, through]}]],
        "ListModelArtifactVersions": [[by_id], [ref], [place], [{"entity": ENTITY}]],
        "UpdateModelArtifactVersion": [
            [{"version": {**version, "description": "x"}, "update_mask": "description"}]
        ],
        "DeleteModelArtifactVersion": [[version]],
        "ListModelArtifactFiles": [[version], [ref]],
        "CompareModelArtifactVersions": [
            [{**version, "base_id": at["version"]}],
            [{**ref, "base_ref": at["artifact_ref"]}],
            [{**through, "base_ref": at["model_ref"]}],
        ],
        "CommitModelArtifact": [[{"upload_id": at["upload"], "header": header}]],
        "CommitEqualContent": [[{"header": again}]],
        "UploadModelArtifact": [[{"header": header}]],
        "DownloadFile": [[{**version, **range_}], [{**ref, **range_}], [{**through, **range_}]],
        "DownloadFiles": [[{**of_version, "ranges": [range_]}]],
        "HashModelArtifactFiles": [[version], [ref]],
        "UseModelArtifactVersion": [[{"run_id": at["run"], **version}], [{"run_id": at["run"], **ref}]],
        "GetLineage": [[version], [ref], [{"run_id": at["run"]}]],
    }


def _models(at: Mapping[str, str]) -> dict[str, list[list[Request]]]:
    registry = {"entity": ENTITY, "project": "model-registry"}
    by_id, ref, link = {"id": at["model"]}, {"ref": at["model_ref"]}, {"id": at["link"]}
    return {
        "ListRegistries": [[{"entity": ENTITY}]],
        "CreateRegisteredModel": [[{"registered_model": {**registry, "name": f"{at['project']}-new"}}]],
        "GetRegisteredModel": [[by_id], [ref]],
        "ListRegisteredModels": [[registry], [{"entity": ENTITY}]],
        "UpdateRegisteredModel": [
            [{"registered_model": {**by_id, "description": "x"}, "update_mask": "description"}]
        ],
        "DeleteRegisteredModel": [[{**by_id, "force": True}]],
        "LinkModelArtifactVersion": [
            [{"id": at["version"], "target_ref": at["model_ref"]}],
            [{"ref": at["artifact_ref"], "target_ref": at["model_ref"]}],
            [{"id": at["version"], "target_id": at["model"]}],
        ],
        "GetRegisteredModelVersion": [[link], [ref]],
        "ListRegisteredModelVersions": [[by_id], [ref], [registry], [{"entity": ENTITY}]],
        "DeleteRegisteredModelVersion": [[{**link, "force": True}]],
    }


def _aliases(at: Mapping[str, str]) -> dict[str, list[list[Request]]]:
    by_id, ref = {"id": at["model"]}, {"ref": at["model_ref"]}
    moves = {"updates": [{"alias": "staging", "version": "v0"}]}
    return {
        "UpdateAliases": [
            [{**by_id, **moves}],
            [{**ref, **moves}],
            [{"ref": at["artifact_ref"], **moves}],
        ],
        "ListAliasChanges": [[by_id], [ref]],
    }


def _uploads(at: Mapping[str, str]) -> dict[str, list[list[Request]]]:
    upload = {"upload_id": at["upload"]}
    return {
        "CreateUpload": [[_place(at)]],
        "FindMissingChunks": [[upload]],
        "UploadChunks": [[upload]],
        "DeleteUpload": [[upload]],
    }


def _projects(at: Mapping[str, str]) -> dict[str, list[list[Request]]]:
    return {
        "CreateProject": [[{"project": {"entity": ENTITY, "name": f"{at['project']}-new"}}]],
        "GetProject": [[{"entity": ENTITY, "name": at["project"]}]],
        "ListProjects": [[{"entity": ENTITY}]],
        "ListPrincipals": [[{"entity": ENTITY}]],
    }


def _local(at: Mapping[str, str]) -> dict[str, list[list[Request]]]:
    return {
        "TakeFiles": [[{"upload_id": at["upload"]}]],
        "LocateFiles": [[{"version_id": at["version"], "ranges": [{"path": "w"}]}]],
        "OpenWeb": [[{}]],
    }


def test_every_method_that_needs_a_key_is_in_the_table_of_methods() -> None:
    needs_key = {path for path, method in METHODS.items() if not method.open}
    assert needs_key == CLOSED.keys()


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize(("key", "why"), [("", "KEY_MISSING"), ("my_" + "x" * 40, "KEY_INVALID")])
def test_a_method_refuses_a_caller_without_a_key(
    server: LiveServer, owner: Stubs, path: str, key: str, why: str
) -> None:
    assert outcome(server.stubs(key), path, {}) == why


@pytest.mark.parametrize("path", sorted(CLOSED.keys() - OF_NO_ENTITY))
def test_a_method_refuses_a_key_of_another_entity_and_takes_one_of_the_own(
    owner: Stubs, stranger: Stubs, path: str
) -> None:
    at = scene(owner)
    calls = requests_of(path, at)
    for requests in calls:
        refused = outcome(stranger, path, *requests)
        if path.endswith("/BatchGetModelArtifactVersions"):
            assert refused == "empty"
        elif path.endswith("/DeleteUpload"):
            assert refused == "found"  # deleting what is missing succeeds; the owner's is still there:
            assert outcome(owner, path.replace("Delete", "Create"), _place(at)) == "found"
            assert outcome(owner, path.replace("DeleteUpload", "FindMissingChunks"), *requests) == "found"
        else:
            assert refused in REFUSALS, requests
    # The same requests succeed with another key, so the key was refused and not the request.
    assert outcome(owner, path, *calls[0]) not in REFUSALS | {"empty", "INVALID_FIELD"}


def test_rights_are_checked_in_one_module() -> None:
    """Whether a key opens every entity is read where rights are checked, and where keys are made."""
    root = Path(modelyard_server.__file__).parent
    readers = {
        path.relative_to(root).as_posix()
        for folder in ("domain", "rpc", "content")
        for path in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "all_entities"
    }
    assert readers == {"domain/access/authorize.py", "domain/access/keys.py"}
