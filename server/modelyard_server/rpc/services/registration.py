"""The services of modelyard.v1, and how they are put on a server."""

from __future__ import annotations

from typing import Any

from modelyard.local.v1 import local_pb2, local_pb2_grpc
from modelyard.v1 import (
    event_pb2,
    event_pb2_grpc,
    model_artifact_pb2,
    model_artifact_pb2_grpc,
    registered_model_pb2,
    registered_model_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    upload_pb2,
    upload_pb2_grpc,
)

NAMES: tuple[str, ...] = tuple(
    service.full_name
    for module in (run_pb2, event_pb2, model_artifact_pb2, registered_model_pb2, upload_pb2, local_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)
"""Full names, for health and reflection."""


def register(
    server: Any,
    *,
    runs: run_pb2_grpc.RunServiceServicer,
    events: event_pb2_grpc.EventServiceServicer,
    artifacts: model_artifact_pb2_grpc.ModelArtifactServiceServicer,
    registry: registered_model_pb2_grpc.RegisteredModelServiceServicer,
    uploads: upload_pb2_grpc.UploadServiceServicer,
    local: local_pb2_grpc.LocalServiceServicer,
) -> None:
    """Adds every service to a server."""
    run_pb2_grpc.add_RunServiceServicer_to_server(runs, server)
    event_pb2_grpc.add_EventServiceServicer_to_server(events, server)
    model_artifact_pb2_grpc.add_ModelArtifactServiceServicer_to_server(artifacts, server)
    registered_model_pb2_grpc.add_RegisteredModelServiceServicer_to_server(registry, server)
    upload_pb2_grpc.add_UploadServiceServicer_to_server(uploads, server)
    local_pb2_grpc.add_LocalServiceServicer_to_server(local, server)
