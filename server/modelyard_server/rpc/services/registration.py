"""The services that the server offers, by their full names."""

from __future__ import annotations

from modelyard.local.v1 import local_pb2
from modelyard.v1 import (
    alias_pb2,
    event_pb2,
    metric_pb2,
    model_artifact_pb2,
    project_pb2,
    registered_model_pb2,
    run_console_pb2,
    run_file_pb2,
    run_pb2,
    server_pb2,
    upload_pb2,
)
from modelyard_server.rpc.services.aliases import AliasServicer
from modelyard_server.rpc.services.artifacts import ModelArtifactServicer
from modelyard_server.rpc.services.content.uploads import UploadServicer
from modelyard_server.rpc.services.events import EventServicer
from modelyard_server.rpc.services.local import LocalServicer
from modelyard_server.rpc.services.metrics import MetricServicer
from modelyard_server.rpc.services.models import RegisteredModelServicer
from modelyard_server.rpc.services.projects import ProjectServicer
from modelyard_server.rpc.services.run_console import RunConsoleServicer
from modelyard_server.rpc.services.run_files import RunFileServicer
from modelyard_server.rpc.services.runs import RunServicer
from modelyard_server.rpc.services.server import ServerServicer

NAMES: tuple[str, ...] = tuple(
    service.full_name
    for module in (
        run_pb2,
        metric_pb2,
        run_console_pb2,
        run_file_pb2,
        event_pb2,
        model_artifact_pb2,
        registered_model_pb2,
        alias_pb2,
        upload_pb2,
        project_pb2,
        server_pb2,
        local_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)
"""Full names, for health, reflection and GetServerInfo."""
LOCAL = "modelyard.local.v1.LocalService"


def by_name(
    *,
    runs: RunServicer,
    metrics: MetricServicer,
    console: RunConsoleServicer,
    run_files: RunFileServicer,
    events: EventServicer,
    artifacts: ModelArtifactServicer,
    registry: RegisteredModelServicer,
    aliases: AliasServicer,
    uploads: UploadServicer,
    projects: ProjectServicer,
    server: ServerServicer,
    local: LocalServicer,
) -> dict[str, object]:
    """Returns the servicers by the full names of their services."""
    return {
        "modelyard.v1.RunService": runs,
        "modelyard.v1.MetricService": metrics,
        "modelyard.v1.RunConsoleService": console,
        "modelyard.v1.RunFileService": run_files,
        "modelyard.v1.EventService": events,
        "modelyard.v1.ModelArtifactService": artifacts,
        "modelyard.v1.RegisteredModelService": registry,
        "modelyard.v1.AliasService": aliases,
        "modelyard.v1.UploadService": uploads,
        "modelyard.v1.ProjectService": projects,
        "modelyard.v1.ServerService": server,
        LOCAL: local,
    }
