"""How each method is called. A method that is not in this table is refused.

What a caller may do in an entity is decided by the rules: `domain/access/authorize.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """How a method is called."""

    open: bool = False
    """Whether it may be called without a key."""
    write: bool = False
    """Whether it changes data: the transaction of a unary one writes."""
    short: bool = False
    """Whether it reads only a few rows by key, so that the lookup thread serves it."""


_OPEN = Method(open=True)
_READ = Method()
_LOOKUP = Method(short=True)
_WRITE = Method(write=True)


def _service(name: str, **methods: Method) -> dict[str, Method]:
    return {f"/{name}/{method}": how for method, how in methods.items()}


METHODS: dict[str, Method] = {
    **_service(
        "modelyard.v1.RunService",
        CreateRun=_WRITE,
        GetRun=_READ,
        ListRuns=_READ,
        ListRunKeys=_READ,
        UpdateRun=_WRITE,
        DeleteRun=_WRITE,
        FinishRun=_WRITE,
        HeartbeatRun=_WRITE,
        ListRunAttempts=_READ,
        WatchRuns=_READ,
    ),
    **_service(
        "modelyard.v1.MetricService",
        LogMetrics=_WRITE,
        LogMetricBatches=_WRITE,
        ScanMetricHistory=_READ,
        ListMetricKeys=_READ,
        SampleMetrics=_READ,
    ),
    **_service("modelyard.v1.RunConsoleService", LogConsoleLines=_WRITE, ListConsoleLines=_READ),
    **_service(
        "modelyard.v1.RunFileService",
        CommitRunFiles=_WRITE,
        UploadRunFile=_WRITE,
        ListRunFiles=_READ,
        DownloadRunFile=_READ,
        DownloadRunFiles=_READ,
        DeleteRunFiles=_WRITE,
    ),
    **_service(
        "modelyard.v1.ProjectService",
        CreateProject=_WRITE,
        GetProject=_READ,
        ListProjects=_READ,
        ListPrincipals=_READ,
    ),
    **_service("modelyard.v1.ServerService", GetServerInfo=_READ, GetCaller=_READ),
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
        CompareModelArtifactVersions=_READ,
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
    ),
    **_service("modelyard.v1.AliasService", UpdateAliases=_WRITE, ListAliasChanges=_READ),
    **_service(
        "modelyard.v1.UploadService",
        CreateUpload=_WRITE,
        FindMissingChunks=_WRITE,
        UploadChunks=_WRITE,
        DeleteUpload=_WRITE,
    ),
    **_service("modelyard.local.v1.LocalService", TakeFiles=_WRITE, LocateFiles=_READ, OpenWeb=_READ),
    **_service("grpc.health.v1.Health", Check=_OPEN, List=_OPEN, Watch=_OPEN),
    **_service("grpc.reflection.v1.ServerReflection", ServerReflectionInfo=_OPEN),
    **_service("grpc.reflection.v1alpha.ServerReflection", ServerReflectionInfo=_OPEN),
}
"""By full method names."""
