"""Artifacts, registered models and their versions as messages."""

from __future__ import annotations

from modelyard.v1 import alias_pb2 as alias_pb
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import registered_model_pb2 as registry_pb
from modelyard_server.domain import etags
from modelyard_server.domain.registry.collections import CollectionView
from modelyard_server.domain.registry.registered_models import LinkView
from modelyard_server.domain.registry.versions import LinkedTo, VersionView
from modelyard_server.rpc.wire.convert import json_to_values, timestamp


def version_message(view: VersionView) -> pb.ModelArtifactVersion:
    """The message of a version."""
    row, home = view.version, view.full_name
    return pb.ModelArtifactVersion(
        id=row.id,
        model_artifact_id=row.collection_id,
        entity=home.entity,
        project=home.project,
        name=home.name,
        type=home.type,
        number=row.number,
        aliases=view.aliases,
        description=row.description,
        metadata=json_to_values(row.metadata_),
        tags=row.tags,
        digest=row.digest.hex(),
        size_bytes=row.size,
        file_count=row.file_count,
        state=pb.VERSION_STATE_COMMITTED if row.deleted_at is None else pb.VERSION_STATE_DELETED,
        created_by=row.created_by,
        create_time=timestamp(row.created_at),
        update_time=timestamp(row.updated_at),
        expire_time=timestamp(row.expires_at),
        producer_run_id=row.producer_run_id or "",
        history_step=None if row.history_step < 0 else row.history_step,
        linked_to=[linked_to_message(link) for link in view.linked_to],
        etag=etags.of_version(row),
    )


def linked_to_message(link: LinkedTo) -> pb.LinkedTo:
    """The message of a link of a version."""
    return pb.LinkedTo(id=link.id, ref=link.ref)


def artifact_message(view: CollectionView) -> pb.ModelArtifact:
    """The message of an artifact."""
    row = view.collection
    return pb.ModelArtifact(
        id=row.id,
        entity=view.full_name.entity,
        project=view.full_name.project,
        name=row.name,
        type=row.type,
        description=row.description,
        tags=row.tags,
        version_count=view.version_count,
        created_by=row.created_by,
        create_time=timestamp(row.created_at),
        update_time=timestamp(row.updated_at),
        etag=etags.of_collection(row),
    )


def model_message(view: CollectionView) -> registry_pb.RegisteredModel:
    """The message of a registered model."""
    row = view.collection
    return registry_pb.RegisteredModel(
        id=row.id,
        entity=view.full_name.entity,
        project=view.full_name.project,
        name=row.name,
        type=row.type,
        description=row.description,
        tags=row.tags,
        version_count=view.version_count,
        created_by=row.created_by,
        create_time=timestamp(row.created_at),
        update_time=timestamp(row.updated_at),
        etag=etags.of_collection(row),
        aliases=[alias_pb.AliasPosition(alias=alias, version=f"v{number}") for alias, number in view.aliases],
        last_link_time=timestamp(view.last_link[0]) if view.last_link else None,
        last_linked_by=view.last_link[1] if view.last_link else "",
    )


def link_message(view: LinkView) -> registry_pb.RegisteredModelVersion:
    """The message of a link, without its source where the caller has no right to see that."""
    row, source = view.link, view.source
    return registry_pb.RegisteredModelVersion(
        id=row.id,
        registered_model_id=row.collection_id,
        entity=view.full_name.entity,
        project=view.full_name.project,
        name=view.full_name.name,
        number=row.number,
        aliases=view.aliases,
        source=version_message(source) if source else None,
        source_ref=source.full_name.ref(source.version.number) if source else "",
        created_by=row.created_by,
        create_time=timestamp(row.created_at),
    )
