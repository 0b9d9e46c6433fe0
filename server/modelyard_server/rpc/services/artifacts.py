"""ModelArtifactService: its unary methods, and the service as a whole."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from modelyard.contract import errors
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import run_pb2, upload_pb2
from modelyard_server.domain import lineage
from modelyard_server.domain.access.authorize import Action
from modelyard_server.domain.content import comparison, files
from modelyard_server.domain.content.files import FileEntry
from modelyard_server.domain.content.manifests import Limits
from modelyard_server.domain.lineage import Direction
from modelyard_server.domain.registry import (
    artifacts,
    collection_lists,
    collections,
    deletes,
    resolve,
    resolve_batch,
    version_lists,
    versions,
)
from modelyard_server.domain.registry.resolve_batch import VersionRequest
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.packs.writer import PackWriter
from modelyard_server.rpc.dispatch.call import Call
from modelyard_server.rpc.dispatch.stream_limits import MemoryBudgets, StreamLimits
from modelyard_server.rpc.services.content.commits import CommitMethods
from modelyard_server.rpc.services.content.downloads import HASHING_SECONDS, DownloadMethods
from modelyard_server.rpc.wire import arguments, pages
from modelyard_server.rpc.wire.comparisons import change_message, total_message
from modelyard_server.rpc.wire.convert import values_to_python
from modelyard_server.rpc.wire.convert_artifacts import artifact_message, linked_to_message, version_message

_DIRECTIONS: dict[int, Direction] = {
    pb.LINEAGE_DIRECTION_UNSPECIFIED: "both",
    pb.LINEAGE_DIRECTION_UPSTREAM: "upstream",
    pb.LINEAGE_DIRECTION_DOWNSTREAM: "downstream",
    pb.LINEAGE_DIRECTION_BOTH: "both",
}
_RELATIONS = {"output": pb.LINEAGE_RELATION_OUTPUT, "input": pb.LINEAGE_RELATION_INPUT}


class ModelArtifactMethods:
    """The unary methods of ModelArtifactService."""

    def CreateModelArtifact(
        self, request: pb.CreateModelArtifactRequest, call: Call
    ) -> pb.CreateModelArtifactResponse:
        wanted = request.model_artifact
        row = artifacts.create(
            call.session,
            call.principal,
            entity=wanted.entity,
            project=wanted.project,
            name=wanted.name,
            type_=wanted.type,
            description=wanted.description,
            tags=wanted.tags,
        )
        return pb.CreateModelArtifactResponse(model_artifact=_shown(call, row))

    def ListModelArtifactTypes(
        self, request: pb.ListModelArtifactTypesRequest, call: Call
    ) -> pb.ListModelArtifactTypesResponse:
        counts, token = collection_lists.types(
            call.session,
            call.principal,
            entity=request.entity,
            project=request.project,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListModelArtifactTypesResponse(
            types=[pb.ModelArtifactType(name=name, artifact_count=count) for name, count in counts],
            next_page_token=token,
        )

    def GetModelArtifact(
        self, request: pb.GetModelArtifactRequest, call: Call
    ) -> pb.GetModelArtifactResponse:
        arguments.selector(request)
        row = resolve.collection(call.session, call.principal, "artifact", id_=request.id, ref=request.ref)
        return pb.GetModelArtifactResponse(model_artifact=_shown(call, row))

    def ListModelArtifacts(
        self, request: pb.ListModelArtifactsRequest, call: Call
    ) -> pb.ListModelArtifactsResponse:
        def page(size: int) -> tuple[list[pb.ModelArtifact], str]:
            views, token = collection_lists.page(
                call.session,
                call.principal,
                "artifact",
                entity=request.entity,
                project=request.project,
                filter_=request.filter,
                order_by=request.order_by,
                page_size=size,
                page_token=request.page_token,
            )
            return [artifact_message(view) for view in views], token

        found, token = pages.fitting(page, request.page_size)
        return pb.ListModelArtifactsResponse(model_artifacts=found, next_page_token=token)

    def UpdateModelArtifact(
        self, request: pb.UpdateModelArtifactRequest, call: Call
    ) -> pb.UpdateModelArtifactResponse:
        wanted = request.model_artifact
        mask = arguments.masked(request.update_mask, ("description", "tags"))
        id_ = arguments.required("model_artifact.id", wanted.id)
        row = resolve.collection(
            call.session,
            call.principal,
            "artifact",
            id_=id_,
            field="model_artifact.id",
            action=Action.WRITE,
            lock=True,
        )
        collections.change(
            call.session,
            call.principal,
            row,
            description=wanted.description if "description" in mask else None,
            tags=wanted.tags if "tags" in mask else None,
            etag=wanted.etag,
            prefix="model_artifact.",
        )
        return pb.UpdateModelArtifactResponse(model_artifact=_shown(call, row))

    def DeleteModelArtifact(
        self, request: pb.DeleteModelArtifactRequest, call: Call
    ) -> pb.DeleteModelArtifactResponse:
        id_ = arguments.required("id", request.id)
        row = resolve.collection(call.session, call.principal, "artifact", id_=id_, action=Action.DELETE)
        deletes.delete_artifact(call.session, call.principal, row, force=request.force)
        return pb.DeleteModelArtifactResponse()

    def GetModelArtifactVersion(
        self, request: pb.GetModelArtifactVersionRequest, call: Call
    ) -> pb.GetModelArtifactVersionResponse:
        arguments.selector(request)
        found = resolve.version(call.session, call.principal, id_=request.id, ref=request.ref, alone=True)
        return pb.GetModelArtifactVersionResponse(
            version=version_message(found.view), through_link=found.through_link
        )

    def BatchGetModelArtifactVersions(
        self, request: pb.BatchGetModelArtifactVersionsRequest, call: Call
    ) -> pb.BatchGetModelArtifactVersionsResponse:
        wanted = [VersionRequest(one.id, one.ref) for one in request.requests]
        found = resolve_batch.versions_of(call.session, call.principal, wanted)
        results = [
            pb.BatchGetModelArtifactVersionsResult(
                version=version_message(one.view) if one else None,
                through_link=one.through_link if one else "",
            )
            for one in found
        ]
        pages.check(results, "requests")
        return pb.BatchGetModelArtifactVersionsResponse(results=results)

    def ListModelArtifactVersions(
        self, request: pb.ListModelArtifactVersionsRequest, call: Call
    ) -> pb.ListModelArtifactVersionsResponse:
        artifact = None
        if selector := arguments.selector(request, optional=True):
            arguments.alone(selector, entity=request.entity, project=request.project)
            artifact = resolve.collection(
                call.session, call.principal, "artifact", id_=request.id, ref=request.ref
            )

        def page(size: int) -> tuple[list[pb.ModelArtifactVersion], str]:
            rows, token = version_lists.page(
                call.session,
                call.principal,
                artifact,
                entity=request.entity,
                project=request.project,
                filter_=request.filter,
                order_by=request.order_by,
                page_size=size,
                page_token=request.page_token,
            )
            views = versions.describe(call.session, call.principal, rows)
            return [version_message(view) for view in views], token

        found, token = pages.fitting(page, request.page_size)
        return pb.ListModelArtifactVersionsResponse(versions=found, next_page_token=token)

    def UpdateModelArtifactVersion(
        self, request: pb.UpdateModelArtifactVersionRequest, call: Call
    ) -> pb.UpdateModelArtifactVersionResponse:
        wanted = request.version
        fields = ("description", "metadata", "tags", "expire_time")
        mask = arguments.masked(request.update_mask, fields, optional=len(request.metadata_keys) > 0)
        keys = arguments.single_keys("metadata_keys", request.metadata_keys, mask)
        named = keys or "metadata" in mask
        metadata = values_to_python(wanted.metadata, "version.metadata") if named else {}
        found = resolve.version(
            call.session, call.principal, id_=wanted.id, field="version.id", action=Action.WRITE
        )
        expires_at = None
        if "expire_time" in mask and wanted.HasField("expire_time"):
            expires_at = arguments.microseconds("version.expire_time", wanted.expire_time)
        row = versions.update(
            call.session,
            call.principal,
            found.version,
            description=wanted.description if "description" in mask else None,
            metadata=metadata if "metadata" in mask else None,
            metadata_entries={key: [metadata[key]] if key in metadata else [] for key in keys},
            tags=wanted.tags if "tags" in mask else None,
            expires_at=expires_at,
            set_expiry="expire_time" in mask,
            etag=wanted.etag,
        )
        view = versions.describe(call.session, call.principal, [row])[0]
        return pb.UpdateModelArtifactVersionResponse(version=version_message(view))

    def DeleteModelArtifactVersion(
        self, request: pb.DeleteModelArtifactVersionRequest, call: Call
    ) -> pb.DeleteModelArtifactVersionResponse:
        id_ = arguments.required("id", request.id)
        row = resolve.version(call.session, call.principal, id_=id_, action=Action.DELETE).version
        deletes.delete_version(call.session, call.principal, row, force=request.force)
        return pb.DeleteModelArtifactVersionResponse()

    def ListModelArtifactFiles(
        self, request: pb.ListModelArtifactFilesRequest, call: Call
    ) -> pb.ListModelArtifactFilesResponse:
        arguments.selector(request)
        version_id = resolve.version(call.session, call.principal, id_=request.id, ref=request.ref).version.id
        entries, token = files.page(
            call.session,
            version_id,
            path_prefix=request.path_prefix,
            include_chunks=request.include_chunks,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListModelArtifactFilesResponse(
            entries=[_entry_message(entry) for entry in entries],
            next_page_token=token,
            version_id=version_id,
        )

    def CompareModelArtifactVersions(
        self, request: pb.CompareModelArtifactVersionsRequest, call: Call
    ) -> pb.CompareModelArtifactVersionsResponse:
        arguments.selector(request)
        arguments.selector(request, "base")
        version = resolve.version(call.session, call.principal, id_=request.id or None, ref=request.ref)
        base = resolve.version(
            call.session, call.principal, id_=request.base_id or None, ref=request.base_ref, field="base_id"
        )
        found = comparison.page(
            call.session,
            version.view,
            base.view,
            path_prefix=request.path_prefix,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.CompareModelArtifactVersionsResponse(
            changes=[change_message(change) for change in found.changes],
            next_page_token=found.token,
            version_id=version.version.id,
            base_version_id=base.version.id,
            total=total_message(found.total) if found.total else None,
        )

    def UseModelArtifactVersion(
        self, request: pb.UseModelArtifactVersionRequest, call: Call
    ) -> pb.UseModelArtifactVersionResponse:
        arguments.selector(request)
        run_id = arguments.required("run_id", request.run_id)
        found = resolve.version(
            call.session,
            call.principal,
            id_=request.id,
            ref=request.ref,
            action=Action.DOWNLOAD,
        )
        lineage.use(call.session, call.principal, run_id, found.version, request.use_as)
        return pb.UseModelArtifactVersionResponse(
            version=version_message(found.view), through_link=found.through_link
        )

    def GetLineage(self, request: pb.GetLineageRequest, call: Call) -> pb.GetLineageResponse:
        arguments.selector(request)
        if request.direction not in _DIRECTIONS:
            raise errors.InvalidField.of(
                "direction", f"{request.direction} is not a direction this server knows"
            )
        version_id = request.id
        if request.ref:
            version_id = resolve.version(call.session, call.principal, ref=request.ref).version.id
        graph = lineage.walk(
            call.session,
            call.principal,
            run_id=request.run_id,
            version_id=version_id,
            direction=_DIRECTIONS[request.direction],
            depth=request.depth,
        )
        return lineage_message(graph)


class ModelArtifactServicer(CommitMethods, DownloadMethods, ModelArtifactMethods):
    """ModelArtifactService."""

    def __init__(
        self,
        writer: PackWriter,
        packs: ConfirmedPacks,
        hashing: Executor,
        reading: Executor,
        streams: StreamLimits,
        memory: MemoryBudgets,
        limits: Limits,
        *,
        hashing_seconds: float = HASHING_SECONDS,
    ) -> None:
        CommitMethods.__init__(self, writer, hashing, streams, memory.windows, limits)
        DownloadMethods.__init__(self, packs, reading, streams.download, memory.read_ahead, hashing_seconds)


def _shown(call: Call, row: Any) -> pb.ModelArtifact:
    return artifact_message(collections.describe(call.session, [row])[0])


def _entry_message(entry: FileEntry) -> pb.ManifestEntry:
    return pb.ManifestEntry(
        path=entry.path,
        size_bytes=entry.size,
        digest=entry.digest.hex() if entry.digest else "",
        chunks=[upload_pb2.Chunk(digest=digest, size_bytes=size) for digest, size in entry.chunks],
        continued=entry.continued,
        sha256=entry.sha256.hex() if entry.sha256 else "",
        reference_uri=entry.uri,
        reference_tag=entry.tag,
    )


def lineage_message(graph: lineage.Graph) -> pb.GetLineageResponse:
    """The graph as a reply."""
    return pb.GetLineageResponse(
        runs=[
            pb.LineageRun(
                id=run.id,
                ref=run.path,
                display_name=run.display_name,
                state=run_pb2.RunState.Value(f"RUN_STATE_{run.state.upper()}"),
                deleted=run.deleted,
            )
            for run in graph.runs.values()
        ],
        versions=[
            pb.LineageVersion(
                id=node.id,
                ref=node.ref,
                type=node.type,
                deleted=node.deleted,
                linked_to=[linked_to_message(link) for link in node.linked_to],
            )
            for node in graph.versions.values()
        ],
        edges=[
            pb.LineageEdge(
                run_id=edge.run_id,
                version_id=edge.version_id,
                relation=_RELATIONS[edge.relation],
                use_as=edge.use_as,
            )
            for edge in graph.edges.values()
        ],
        truncated=graph.truncated,
    )
