"""What the cases are about, by names: a run, an artifact, a registered model and an upload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from modelyard.v1 import (
    metric_pb2,
    model_artifact_pb2,
    registered_model_pb2,
    run_file_pb2,
    run_pb2,
    upload_pb2,
)
from tests.parts.server import PROMISED, Stubs, new_project
from tests.wire.bad_input.cases import Request

METHODS: Mapping[str, MethodDescriptor] = {
    f"{service.name}/{method.name}": method
    for module in PROMISED
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Every promised method by service and name."""
Scene = Mapping[str, str]


def path_of(method: str) -> str:
    """The full name of a method, such as `/modelyard.v1.RunService/GetRun`."""
    return f"/modelyard.v1.{method}"


def make(stubs: Stubs) -> Scene:
    """A scene in a project of its own."""
    project = new_project()
    spec = run_pb2.Run(project=project)
    run = stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=spec, request_id=project)).run
    finished = stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=spec)).run
    stubs.runs.FinishRun(run_pb2.FinishRunRequest(id=finished.id))
    batch = metric_pb2.MetricBatch(
        steps=[0], timestamps=[1.0], columns=[metric_pb2.MetricColumn(key="loss", doubles=[0.5])]
    )
    stubs.metrics.LogMetrics(
        metric_pb2.LogMetricsRequest(run_id=run.id, writer="scene", sequence=1, batch=batch)
    )
    file = run_file_pb2.RunFileHeader(run_id=run.id, path="f")
    stubs.run_files.UploadRunFile(
        iter(
            [
                run_file_pb2.UploadRunFileRequest(header=file),
                run_file_pb2.UploadRunFileRequest(data=b"x" * 10),
            ]
        )
    )
    parts = [
        model_artifact_pb2.UploadModelArtifactRequest(
            header=model_artifact_pb2.VersionHeader(project=project, name="bert")
        ),
        model_artifact_pb2.UploadModelArtifactRequest(path="w", data=b"0123456789"),
    ]
    version = stubs.artifacts.UploadModelArtifact(iter(parts)).version
    link = stubs.registry.LinkModelArtifactVersion(
        registered_model_pb2.LinkModelArtifactVersionRequest(id=version.id, target_ref=project)
    ).version
    upload = stubs.uploads.CreateUpload(upload_pb2.CreateUploadRequest(project=project))
    return {
        "project": project,
        "request_id": project,
        "run": run.id,
        "finished": finished.id,
        "artifact": version.model_artifact_id,
        "version": version.id,
        "model": link.registered_model_id,
        "model_ref": project,
        "link": link.id,
        "upload": upload.upload_id,
    }


def messages(method: str, requests: Sequence[Request], scene: Scene) -> list[Message]:
    """The requests of a case as messages of its method."""
    kind = GetMessageClass(METHODS[method].input_type)
    return [_filled(kind(), request, scene) for request in requests]


def _filled(message: Message, values: Request, scene: Scene) -> Message:
    for name, value in values.items():
        field = message.DESCRIPTOR.fields_by_name[name]
        if _is_map(field):
            _fill_map(getattr(message, name), field, value, scene)
        elif isinstance(value, Mapping):
            getattr(message, name).SetInParent()
            _filled(getattr(message, name), value, scene)
        elif isinstance(value, list):
            _fill_list(getattr(message, name), value, scene)
        else:
            setattr(message, name, _named(value, scene))
    return message


def _fill_map(entries: Any, field: FieldDescriptor, values: Request, scene: Scene) -> None:
    for key, value in values.items():
        if field.message_type.fields_by_name["value"].message_type is None:
            entries[key] = value
        else:
            entries[key].SetInParent()
            _filled(entries[key], value, scene)


def _fill_list(items: Any, values: Sequence[Any], scene: Scene) -> None:
    for value in values:
        if isinstance(value, Mapping):
            _filled(items.add(), value, scene)
        else:
            items.append(_named(value, scene))


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _named(value: Any, scene: Scene) -> Any:
    """The value; a text such as `$run` stands for that of the scene."""
    return scene[value[1:]] if isinstance(value, str) and value[1:] in scene and value[0] == "$" else value
