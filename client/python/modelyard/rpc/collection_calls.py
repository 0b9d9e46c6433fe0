"""Requests about artifacts and registered models. Imports gRPC and Protobuf, so import it when needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from modelyard.contract import errors
from modelyard.rpc import messages, records
from modelyard.rpc.connection import Connection
from modelyard.rpc.list_calls import PAGE_SIZE, pages
from modelyard.spool import pending_versions
from modelyard.v1 import model_artifact_pb2 as artifact_pb
from modelyard.v1 import registered_model_pb2 as model_pb


def get(connection: Connection, record: records.Collection) -> records.Collection:
    """An artifact or a registered model as it is now. Errors: NotFound."""
    return _by_id(connection, record.id, record.registered)


def of(connection: Connection, holder: records.Version | records.Link) -> records.Collection:
    """The artifact or registered model of a version or link. Errors: NotFound."""
    if isinstance(holder, records.Link):
        return _by_id(connection, holder.registered_model_id, True)
    return _by_id(connection, holder.model_artifact_id, False)


def model_by_ref(connection: Connection, ref: str) -> records.Collection:
    """A registered model by `entity/project/name`. Errors: NotFound. Waits as `find_artifact`."""
    pending_versions.wait_for(connection.address, ref)
    request = model_pb.GetRegisteredModelRequest(ref=ref)
    return messages.collection(connection.registry.GetRegisteredModel(request).registered_model)


def find_artifact(connection: Connection, ref: str) -> records.Collection | None:
    """An artifact by `entity/project/name`; None when there is none. Waits for versions being sent to it."""
    pending_versions.wait_for(connection.address, ref)
    try:
        reply = connection.artifacts.GetModelArtifact(artifact_pb.GetModelArtifactRequest(ref=ref))
    except errors.NotFound:
        return None
    return messages.collection(reply.model_artifact)


def find_model(connection: Connection, ref: str) -> records.Collection | None:
    """A registered model by `entity/project/name`; None when there is none. Waits as `find_artifact`."""
    pending_versions.wait_for(connection.address, ref)
    try:
        reply = connection.registry.GetRegisteredModel(model_pb.GetRegisteredModelRequest(ref=ref))
    except errors.NotFound:
        return None
    return messages.collection(reply.registered_model)


def _by_id(connection: Connection, collection_id: str, registered: bool) -> records.Collection:
    if registered:
        model = model_pb.GetRegisteredModelRequest(id=collection_id)
        return messages.collection(connection.registry.GetRegisteredModel(model).registered_model)
    artifact = artifact_pb.GetModelArtifactRequest(id=collection_id)
    return messages.collection(connection.artifacts.GetModelArtifact(artifact).model_artifact)


def update(
    connection: Connection, record: records.Collection, changes: Mapping[str, Any]
) -> records.Collection:
    """Sets `description`, `tags` and of a registered model `name`, those that `changes` names.

    Errors: EtagMismatch when the collection is no longer as in the record, NotFound,
    AlreadyExists (name), InvalidField.
    """
    mask = FieldMask(paths=sorted(changes))
    if record.registered:
        model = model_pb.UpdateRegisteredModelRequest(
            registered_model=model_pb.RegisteredModel(id=record.id, etag=record.etag, **changes),
            update_mask=mask,
        )
        return messages.collection(connection.registry.UpdateRegisteredModel(model).registered_model)
    artifact = artifact_pb.UpdateModelArtifactRequest(
        model_artifact=artifact_pb.ModelArtifact(id=record.id, etag=record.etag, **changes), update_mask=mask
    )
    return messages.collection(connection.artifacts.UpdateModelArtifact(artifact).model_artifact)


def create_model(
    connection: Connection, ref: str, kind: str, description: str, tags: Sequence[str]
) -> records.Collection:
    """Makes the registered model `entity/project/name`. Errors: AlreadyExists, InvalidField."""
    entity, project, name = ["", "", *ref.split("/")][-3:]
    model = model_pb.RegisteredModel(
        entity=entity, project=project, name=name, type=kind, description=description, tags=tags
    )
    request = model_pb.CreateRegisteredModelRequest(registered_model=model)
    return messages.collection(connection.registry.CreateRegisteredModel(request).registered_model)


def delete_artifact(connection: Connection, artifact_id: str, *, delete_aliases: bool) -> None:
    """Deletes an artifact with its versions. Errors: VersionHasAliases, VersionLinked."""
    connection.artifacts.DeleteModelArtifact(
        artifact_pb.DeleteModelArtifactRequest(id=artifact_id, force=delete_aliases)
    )


def delete_model(connection: Connection, model_id: str) -> None:
    """Deletes a registered model with its links and their aliases. Errors: NotFound."""
    connection.registry.DeleteRegisteredModel(model_pb.DeleteRegisteredModelRequest(id=model_id, force=True))


def types(connection: Connection, entity: str, project: str) -> dict[str, int]:
    """The types of a project's artifacts, with how many artifacts each has."""
    request = artifact_pb.ListModelArtifactTypesRequest(entity=entity, project=project, page_size=PAGE_SIZE)
    found = pages(connection.artifacts.ListModelArtifactTypes, request)
    return {each.name: each.artifact_count for page in found for each in page.types}


def registries(connection: Connection, entity: str) -> list[records.RegistryRecord]:
    """The projects that hold registered models, by name."""
    request = model_pb.ListRegistriesRequest(entity=entity, page_size=PAGE_SIZE)
    return [
        records.RegistryRecord(each.entity, each.name, each.registered_model_count)
        for page in pages(connection.registry.ListRegistries, request)
        for each in page.registries
    ]
