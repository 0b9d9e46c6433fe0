"""The permission that each method needs. A method that is not in this table is refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Permission(Enum):
    """What a caller must have the right to do. Every principal may read and write in its entities."""

    OPEN = "open"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True)
class Method:
    """A method's permission, and whether its transaction writes (unary methods only)."""

    permission: Permission
    write: bool = False
    short: bool = False
    """Whether it reads only a few rows by key, so that the lookup thread serves it."""


_OPEN = Method(Permission.OPEN)
_READ = Method(Permission.READ)
_LOOKUP = Method(Permission.READ, short=True)
_WRITE = Method(Permission.WRITE, write=True)


def _service(name: str, **methods: Method) -> dict[str, Method]:
    return {f"/{name}/{method}": permission for method, permission in methods.items()}


METHODS: dict[str, Method] = {
    **_service(
        "modelyard.v1.RunService",
        CreateRun=_WRITE,
        GetRun=_READ,
        ListRuns=_READ,
        UpdateRun=_WRITE,
        DeleteRun=_WRITE,
        FinishRun=_WRITE,
        HeartbeatRun=_WRITE,
        LogMetrics=_WRITE,
        ScanMetricHistory=_READ,
    ),
    **_service("modelyard.v1.ServerService", GetServerInfo=_READ),
    **_service("modelyard.v1.EventService", ListEvents=_READ, WatchEvents=_READ),
    **_service(
        "modelyard.v1.ModelArtifactService",
        CreateModelArtifact=_WRITE,
        ListModelArtifactTypes=_READ,
        GetModelArtifact=_READ,
        ListModelArtifacts=_READ,
        UpdateModelArtifact=_WRITE,
        DeleteModelArtifact=_WRITE,
        GetModelArtifactVersion=_LOOKUP,
        BatchGetModelArtifactVersions=_READ,
        ListModelArtifactVersions=_READ,
        UpdateModelArtifactVersion=_WRITE,
        DeleteModelArtifactVersion=_WRITE,
        ListModelArtifactFiles=_READ,
        CommitModelArtifact=_WRITE,
        CommitEqualContent=_WRITE,
        UploadModelArtifact=_WRITE,
        DownloadFile=_READ,
        DownloadFiles=_READ,
        HashModelArtifactFiles=_READ,
        UseModelArtifactVersion=_WRITE,
        GetLineage=_READ,
    ),
    **_service(
        "modelyard.v1.RegisteredModelService",
        ListRegistries=_READ,
        CreateRegisteredModel=_WRITE,
        GetRegisteredModel=_READ,
        ListRegisteredModels=_READ,
        UpdateRegisteredModel=_WRITE,
        DeleteRegisteredModel=_WRITE,
        LinkModelArtifactVersion=_WRITE,
        GetRegisteredModelVersion=_LOOKUP,
        ListRegisteredModelVersions=_READ,
        DeleteRegisteredModelVersion=_WRITE,
        UpdateAliases=_WRITE,
        ListAliasChanges=_READ,
    ),
    **_service(
        "modelyard.v1.UploadService",
        CreateUpload=_WRITE,
        FindMissingChunks=_WRITE,
        UploadChunks=_WRITE,
        DeleteUpload=_WRITE,
    ),
    **_service("modelyard.local.v1.LocalService", TakeFiles=_WRITE, LocateFiles=_READ),
    **_service("grpc.health.v1.Health", Check=_OPEN, List=_OPEN, Watch=_OPEN),
    **_service("grpc.reflection.v1.ServerReflection", ServerReflectionInfo=_OPEN),
    **_service("grpc.reflection.v1alpha.ServerReflection", ServerReflectionInfo=_OPEN),
}
"""By full method names."""
