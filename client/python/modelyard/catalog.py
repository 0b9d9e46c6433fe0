"""What the SDK asks a server about versions, links and runs: one function, one question.

Imported when first needed: it brings grpc and Protobuf along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from modelyard import errors, records
from modelyard.connection import Connection
from modelyard.manifest import value_message
from modelyard.v1 import model_artifact_pb2 as artifact_pb
from modelyard.v1 import registered_model_pb2 as model_pb
from modelyard.v1 import run_pb2 as run_pb
from modelyard.v1 import value_pb2

_PAGE = 200
Found = tuple[records.Version, records.Link | None]
"""A version, and the link that a reference went through."""


def value_map(entries: Mapping[str, Any]) -> dict[str, value_pb2.Value]:
    """Plain values as messages."""
    return {key: value_message(item) for key, item in entries.items()}


def resolve(connection: Connection, ref: str) -> Found:
    """The version that a reference means now. Errors: NotFound."""
    reply = connection.artifacts.GetModelArtifactVersion(artifact_pb.GetModelArtifactVersionRequest(ref=ref))
    through = get_link(connection, reply.through_link) if reply.through_link else None
    return records.version(reply.version), through


def get_version(connection: Connection, version_id: str) -> records.Version:
    """A version by its id. Errors: NotFound."""
    request = artifact_pb.GetModelArtifactVersionRequest(id=version_id)
    return records.version(connection.artifacts.GetModelArtifactVersion(request).version)


def get_link(connection: Connection, ref: str) -> records.Link:
    """A link by its reference. Errors: NotFound."""
    request = model_pb.GetRegisteredModelVersionRequest(ref=ref)
    return records.link(connection.registry.GetRegisteredModelVersion(request).version)


def find_artifact(connection: Connection, ref: str) -> records.Collection | None:
    """An artifact by `entity/project/name`; None when there is none."""
    try:
        reply = connection.artifacts.GetModelArtifact(artifact_pb.GetModelArtifactRequest(ref=ref))
    except errors.NotFound:
        return None
    return records.collection(reply.model_artifact)


def find_registered_model(connection: Connection, ref: str) -> records.Collection | None:
    """A registered model by `entity/project/name`; None when there is none."""
    try:
        reply = connection.registry.GetRegisteredModel(model_pb.GetRegisteredModelRequest(ref=ref))
    except errors.NotFound:
        return None
    return records.collection(reply.registered_model)


def use(connection: Connection, run_id: str, version_id: str, use_as: str = "") -> records.Version:
    """Records that a run used a version. Errors: NotFound."""
    request = artifact_pb.UseModelArtifactVersionRequest(run_id=run_id, version_id=version_id, use_as=use_as)
    return records.version(connection.artifacts.UseModelArtifactVersion(request).version)


def link(connection: Connection, version_id: str, target: str, aliases: Sequence[str]) -> records.Link:
    """Links a version into the registered model `target` (`entity/project/name`), made when needed."""
    request = model_pb.LinkModelArtifactVersionRequest(version_id=version_id, target=target, aliases=aliases)
    return records.link(connection.registry.LinkModelArtifactVersion(request).version)


def unlink(connection: Connection, link_id: str) -> None:
    """Removes a link; the version stays."""
    connection.registry.DeleteRegisteredModelVersion(model_pb.DeleteRegisteredModelVersionRequest(id=link_id))


def move_aliases(connection: Connection, ref: str, moves: Mapping[str, str]) -> None:
    """Sets (`vN`) and removes (empty) aliases of one artifact or registered model, all or none."""
    updates = [model_pb.AliasUpdate(alias=alias, version=version) for alias, version in moves.items()]
    if updates:
        connection.registry.UpdateAliases(model_pb.UpdateAliasesRequest(ref=ref, updates=updates))


def update_version(connection: Connection, version_id: str, changes: Mapping[str, Any]) -> records.Version:
    """Sets `description`, `metadata`, `tags` and `expire_time` (None: never), those that `changes` names."""
    fields = dict(changes)
    expires = fields.pop("expire_time", None)
    if "metadata" in fields:
        fields["metadata"] = value_map(fields["metadata"])
    message = artifact_pb.ModelArtifactVersion(id=version_id, **fields)
    if expires is not None:
        message.expire_time.FromDatetime(expires)
    request = artifact_pb.UpdateModelArtifactVersionRequest(
        version=message, update_mask=FieldMask(paths=sorted(changes))
    )
    return records.version(connection.artifacts.UpdateModelArtifactVersion(request).version)


def delete_version(connection: Connection, version_id: str, delete_aliases: bool) -> None:
    """Deletes a version. Errors: VersionHasAliases, VersionLinked."""
    request = artifact_pb.DeleteModelArtifactVersionRequest(id=version_id, delete_aliases=delete_aliases)
    connection.artifacts.DeleteModelArtifactVersion(request)


def artifacts(connection: Connection, entity: str, project: str) -> Iterator[records.Collection]:
    """The artifacts of a project, by name; of every project when it is empty."""
    request = artifact_pb.ListModelArtifactsRequest(entity=entity, project=project, page_size=_PAGE)
    for page in _pages(connection.artifacts.ListModelArtifacts, request):
        yield from map(records.collection, page.model_artifacts)


def registered_models(connection: Connection, entity: str, project: str) -> Iterator[records.Collection]:
    """The registered models of a registry, by name; of every one when it is empty."""
    request = model_pb.ListRegisteredModelsRequest(entity=entity, project=project, page_size=_PAGE)
    for page in _pages(connection.registry.ListRegisteredModels, request):
        yield from map(records.collection, page.registered_models)


def versions(connection: Connection, artifact_id: str) -> Iterator[records.Version]:
    """The versions of an artifact, newest first."""
    request = artifact_pb.ListModelArtifactVersionsRequest(id=artifact_id, page_size=_PAGE)
    for page in _pages(connection.artifacts.ListModelArtifactVersions, request):
        yield from map(records.version, page.versions)


def links(connection: Connection, model_id: str) -> Iterator[records.Link]:
    """The links of a registered model, newest first."""
    request = model_pb.ListRegisteredModelVersionsRequest(id=model_id, page_size=_PAGE)
    for page in _pages(connection.registry.ListRegisteredModelVersions, request):
        yield from map(records.link, page.versions)


def runs(
    connection: Connection, entity: str, project: str, condition: str = "", order: str = ""
) -> Iterator[records.RunRecord]:
    """The runs of a project, newest first unless `order` says otherwise; `condition` as ListRuns takes it."""
    request = run_pb.ListRunsRequest(
        entity=entity, project=project, page_size=_PAGE, filter=condition, order_by=order
    )
    for page in _pages(connection.runs.ListRuns, request):
        yield from map(records.run, page.runs)


def get_run(connection: Connection, entity: str, project: str, run_id: str) -> records.RunRecord:
    """A run by its short id. Errors: NotFound."""
    request = run_pb.GetRunRequest(entity=entity, project=project, run_id=run_id)
    return records.run(connection.runs.GetRun(request).run)


def run_by_id(connection: Connection, run_id: str) -> records.RunRecord:
    """A run by its global id. Errors: NotFound."""
    return records.run(connection.runs.GetRun(run_pb.GetRunRequest(id=run_id)).run)


def _pages(call: Any, request: Any) -> Iterator[Any]:
    while True:
        page = call(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
