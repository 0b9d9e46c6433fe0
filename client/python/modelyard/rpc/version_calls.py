"""Requests about versions, links and aliases. Imports gRPC and Protobuf, so import it when needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from modelyard.contract import errors, refs
from modelyard.contract.limits import PAGE_ITEMS
from modelyard.rpc import collection_calls, messages, records
from modelyard.rpc.connection import Connection
from modelyard.rpc.messages import value_map
from modelyard.spool import pending_versions
from modelyard.v1 import alias_pb2
from modelyard.v1 import model_artifact_pb2 as artifact_pb
from modelyard.v1 import registered_model_pb2 as model_pb

Found = tuple[records.Version, records.Link | None]
"""A version, and the link that a reference went through."""


def resolve(connection: Connection, ref: str) -> Found:
    """The version that a full reference means now. Errors: NotFound.

    Waits where this process is sending a version of the name that it may mean.
    """
    if refs.version_number(refs.parse(ref).alias) is None:
        pending_versions.wait_for(connection.address, ref)
    try:
        return _resolve(connection, ref)
    except errors.NotFound:
        if not pending_versions.is_pending(connection.address, ref):
            raise
    pending_versions.wait_for(connection.address, ref)
    return _resolve(connection, ref)


def _resolve(connection: Connection, ref: str) -> Found:
    reply = connection.artifacts.GetModelArtifactVersion(artifact_pb.GetModelArtifactVersionRequest(ref=ref))
    through = link_by_ref(connection, reply.through_link) if reply.through_link else None
    return messages.version(reply.version), through


def version_by_id(connection: Connection, version_id: str) -> records.Version:
    """A version by its id. Errors: NotFound."""
    request = artifact_pb.GetModelArtifactVersionRequest(id=version_id)
    return messages.version(connection.artifacts.GetModelArtifactVersion(request).version)


def find_version(connection: Connection, ref: str) -> records.Version | None:
    """The version that a full reference means now; None when there is none."""
    try:
        return resolve(connection, ref)[0]
    except errors.NotFound:
        return None


def versions_by_id(connection: Connection, ids: Sequence[str]) -> list[records.Version]:
    """Versions by their ids, in the same order, without those that are deleted."""
    found: list[records.Version] = []
    for start in range(0, len(ids), PAGE_ITEMS):
        request = artifact_pb.BatchGetModelArtifactVersionsRequest(
            requests=[
                artifact_pb.GetModelArtifactVersionRequest(id=each)
                for each in ids[start : start + PAGE_ITEMS]
            ]
        )
        reply = connection.artifacts.BatchGetModelArtifactVersions(request)
        found += [messages.version(each.version) for each in reply.results if each.HasField("version")]
    return found


def linked_to(connection: Connection, version_id: str) -> Sequence[str]:
    """Full references of the links to a version, as they stand now. Errors: NotFound."""
    return version_by_id(connection, version_id).linked_to


def link_by_ref(connection: Connection, ref: str) -> records.Link:
    """A link by its reference. Errors: NotFound."""
    request = model_pb.GetRegisteredModelVersionRequest(ref=ref)
    return messages.link(connection.registry.GetRegisteredModelVersion(request).version)


def use(
    connection: Connection, run_id: str, version_id: str, use_as: str = "", *, request_id: str = ""
) -> records.Version:
    """Records that a run used a version. Errors: NotFound."""
    request = artifact_pb.UseModelArtifactVersionRequest(
        run_id=run_id, id=version_id, use_as=use_as, request_id=request_id
    )
    return messages.version(connection.artifacts.UseModelArtifactVersion(request).version)


def link(
    connection: Connection, version_id: str, target: str, aliases: Sequence[str], *, request_id: str = ""
) -> records.Link:
    """Links a version into the registered model `target` (`entity/project/name`), made when needed.

    Waits for links to it that this process is still sending, so that `latest` follows the last call.
    """
    pending_versions.wait_for(connection.address, target)
    request = model_pb.LinkModelArtifactVersionRequest(
        id=version_id, target_ref=target, aliases=aliases, request_id=request_id
    )
    return messages.link(connection.registry.LinkModelArtifactVersion(request).version)


def link_named(
    connection: Connection, version_id: str, text: str, target: str, aliases: Sequence[str]
) -> records.Link:
    """As `link`; `text` is what the caller wrote for the target.

    Where a bare name is that of an artifact, the error says how a registered model of it is named.
    """
    try:
        return link(connection, version_id, target, aliases)
    except errors.TypeMismatch as error:
        if "/" in text or collection_calls.find_artifact(connection, target) is None:
            raise
        raise errors.TypeMismatch(
            f"{error}: a bare target is in the project; did you mean {refs.REGISTRY_PROJECT}/{text}?",
            metadata=error.metadata,
        ) from error


def unlink(connection: Connection, link_id: str) -> None:
    """Removes a link with its aliases; the version stays."""
    request = model_pb.DeleteRegisteredModelVersionRequest(id=link_id, force=True)
    connection.registry.DeleteRegisteredModelVersion(request)


def move_aliases(
    connection: Connection, ref: str, moves: Mapping[str, str], *, expected: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Sets (`vN`) and removes (empty) aliases of one artifact or registered model, all or none.

    `expected` says where an alias has to stand before (empty: nowhere). Returns
    where every alias stands then. Waits for versions of it that this process is still
    sending. Errors: AliasChanged, NotFound, InvalidField.
    """
    if not moves:
        return {}
    pending_versions.wait_for(connection.address, ref)
    updates = []
    for alias, version in moves.items():
        update = alias_pb2.AliasUpdate(alias=alias)
        if version:
            update.version = version
        else:
            update.remove = True
        if expected is not None and alias in expected:
            update.expected_version = expected[alias]
        updates.append(update)
    reply = connection.aliases.UpdateAliases(alias_pb2.UpdateAliasesRequest(ref=ref, updates=updates))
    return {position.alias: position.version for position in reply.aliases}


def update_version(
    connection: Connection, version: records.Version, changes: Mapping[str, Any]
) -> records.Version:
    """Sets `description`, `metadata`, `tags` and `expire_time` (None: never), those that `changes` names.

    Errors: EtagMismatch when the version is no longer as in the record.
    """
    fields = dict(changes)
    expires = fields.pop("expire_time", None)
    if "metadata" in fields:
        fields["metadata"] = value_map(fields["metadata"])
    message = artifact_pb.ModelArtifactVersion(id=version.id, etag=version.etag, **fields)
    if expires is not None:
        message.expire_time.FromDatetime(expires)
    request = artifact_pb.UpdateModelArtifactVersionRequest(
        version=message, update_mask=FieldMask(paths=sorted(changes))
    )
    return messages.version(connection.artifacts.UpdateModelArtifactVersion(request).version)


def delete_version(connection: Connection, version_id: str, delete_aliases: bool) -> None:
    """Deletes a version. Errors: VersionHasAliases, VersionLinked."""
    request = artifact_pb.DeleteModelArtifactVersionRequest(id=version_id, force=delete_aliases)
    connection.artifacts.DeleteModelArtifactVersion(request)
