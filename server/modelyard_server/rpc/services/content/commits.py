"""CommitModelArtifact, UploadModelArtifact and CommitEqualContent: the methods that make a version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.contract.chunking import Chunk
from modelyard.contract.limits import EQUAL_CONTENT_ENTRIES
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server import failpoints
from modelyard_server.content.cutter import Cutter
from modelyard_server.content.ingest import ChunkIngest
from modelyard_server.domain import fields
from modelyard_server.domain.content import commits, manifest_rows, staging, uploads
from modelyard_server.domain.content.commits import VersionSpec
from modelyard_server.domain.content.manifests import (
    KeptFile,
    Limits,
    Manifest,
    ManifestReference,
    parse_digest,
)
from modelyard_server.packs.budget import ByteBudget
from modelyard_server.packs.writer import PackWriter
from modelyard_server.rpc.dispatch.call import Call, StreamCall, prepared_by
from modelyard_server.rpc.dispatch.idempotency import RepeatableRequest, content_digest
from modelyard_server.rpc.dispatch.stream_limits import StreamLimits
from modelyard_server.rpc.services.content import large_manifests
from modelyard_server.rpc.wire import convert
from modelyard_server.rpc.wire.convert_artifacts import version_message

R = TypeVar("R", bound=Message)

COMMIT = "/modelyard.v1.ModelArtifactService/CommitModelArtifact"
UPLOAD = "/modelyard.v1.ModelArtifactService/UploadModelArtifact"
_SHORT_BYTES = 64 * 1024


class CommitMethods:
    """The methods of ModelArtifactService that make versions."""

    def __init__(
        self,
        writer: PackWriter,
        pool: Executor,
        streams: StreamLimits,
        windows: ByteBudget,
        limits: Limits,
    ) -> None:
        self._writer = writer
        self._hashing = pool
        self._streams = streams
        self._windows = windows
        self._limits = limits

    async def CommitModelArtifact(
        self, stream: AsyncIterator[pb.CommitModelArtifactRequest], call: StreamCall
    ) -> pb.CommitModelArtifactResponse:
        self._streams.commit.enter(call.principal)
        first = await anext(stream, None)
        if first is None or not first.HasField("header"):
            raise errors.InvalidField.of("header", "the first message must have it")
        upload_id = fields.parse_id("upload_id", first.upload_id)
        spec = _spec(first.header)
        manifest = Manifest(self._limits)
        await self._add(manifest, first)
        async for message in stream:
            if message.upload_id or message.request_id or message.HasField("header"):
                raise errors.InvalidField.of("header", "is allowed in the first message only")
            await self._add(manifest, message)
        return await self._commit(
            call, COMMIT, first, upload_id, spec, manifest, pb.CommitModelArtifactResponse
        )

    @prepared_by(lambda methods, request: methods._known_content(request))
    def CommitEqualContent(
        self, request: pb.CommitEqualContentRequest, call: Call
    ) -> pb.CommitEqualContentResponse:
        known: _KnownContent = call.prepared
        spec = known.spec
        if known.manifest is not None:
            done = commits.commit_known(call.session, call.principal, spec, known.manifest, known.digest)
            if done is not None:
                version, created = done
                return pb.CommitEqualContentResponse(version=version_message(version), created=created)
            if not request.open_upload:
                raise errors.ChunksMissing("not all of the files are stored; upload them")
        elif spec.digest is not None or not request.open_upload:
            found = commits.commit_equal(call.session, call.principal, spec)
            return pb.CommitEqualContentResponse(version=version_message(found))
        commits.check(call.session, call.principal, spec)
        upload = uploads.create(call.session, call.principal, spec.entity, spec.project)
        return pb.CommitEqualContentResponse(upload_id=upload.id)

    async def UploadModelArtifact(
        self, stream: AsyncIterator[pb.UploadModelArtifactRequest], call: StreamCall
    ) -> pb.UploadModelArtifactResponse:
        self._streams.upload.enter(call.principal)
        first = await anext(stream, None)
        if first is None or not first.HasField("header"):
            raise errors.InvalidField.of("header", "the first message must have it")
        spec = _spec(first.header)
        if spec.base_version_id:
            raise errors.InvalidField.of("header.base_version_id", "is supported by CommitModelArtifact only")

        def open_upload(session: Session) -> tuple[str, int]:
            upload = uploads.create(session, call.principal, spec.entity, spec.project)
            return upload.id, upload.entity_id

        upload_id, entity_id = await call.write(open_upload)
        ingest = ChunkIngest(call, self._writer, upload_id, entity_id)
        try:
            cutter = Cutter(ingest, self._hashing, self._windows, self._limits)
            manifest = await cutter.consume(first, stream)
            return await self._commit(
                call, UPLOAD, first, upload_id, spec, manifest, pb.UploadModelArtifactResponse
            )
        finally:
            # After a broken call, a repetition has to find the chunks that had arrived.
            await ingest.settled()
            await call.write(lambda session: uploads.delete(session, call.principal, upload_id))

    async def _commit(
        self,
        call: StreamCall,
        method: str,
        first: pb.CommitModelArtifactRequest | pb.UploadModelArtifactRequest,
        upload_id: str,
        spec: VersionSpec,
        manifest: Manifest,
        response: Callable[..., R],
    ) -> R:
        """Commits, or returns the stored reply of a repeated request."""
        given = await large_manifests.in_thread(
            self._hashing,
            manifest,
            manifest.digest if spec.base_version_id else lambda: manifest.finish(spec.digest),
        )
        content = content_digest(first.header, given)
        request = RepeatableRequest(call.principal, method, first.request_id, content)
        whole: bytes | None = given
        if spec.base_version_id:
            whole = await self._on_base(call, request, spec, manifest)
        staged = await self._stage(call, request, upload_id, spec, manifest) if whole is not None else ""

        def rule(session: Session) -> R:
            stored = request.begin(session)
            if stored is not None:
                reply = response()
                reply.ParseFromString(stored)
                return reply
            if whole is None:
                raise errors.RetryTransaction(
                    "the stored reply of this request has just expired; repeat the call"
                )
            version, created = commits.commit(
                session, call.principal, upload_id, spec, manifest, whole, staged=staged
            )
            reply = response(version=version_message(version), created=created)
            request.finish(session, reply.SerializeToString())
            return reply

        failpoints.hit("commit.before")
        reply = await call.write(rule)
        failpoints.hit("commit.after")
        return reply

    async def _stage(
        self,
        call: StreamCall,
        request: RepeatableRequest,
        upload_id: str,
        spec: VersionSpec,
        manifest: Manifest,
    ) -> str:
        """Stores a large manifest ahead of its commit; returns the id of the staged entries.

        Returns an empty id for a small manifest, which the commit itself stores, for a repeated request,
        and for an upload that has ended.
        """
        if not staging.is_large(manifest) or await call.read(request.stored) is not None:
            return ""
        return await large_manifests.stage(call, self._hashing, upload_id, manifest, spec.base_version_id)

    async def _add(self, manifest: Manifest, message: pb.CommitModelArtifactRequest) -> None:
        """Adds the entries of a message; on a thread where they would block the event loop for long."""
        if message.ByteSize() < _SHORT_BYTES:
            _add_entries(manifest, message)
        else:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._hashing, _add_entries, manifest, message)

    def _known_content(self, request: pb.CommitEqualContentRequest) -> _KnownContent:
        spec = _spec(request.header)
        if not request.entries:
            return _KnownContent(spec)
        if len(request.entries) > EQUAL_CONTENT_ENTRIES:
            raise errors.InvalidField.of(
                "entries",
                f"at most {EQUAL_CONTENT_ENTRIES:,}; commit larger manifests by CommitModelArtifact",
            )
        manifest = _known(request, spec, Manifest(self._limits))
        return _KnownContent(spec, manifest, manifest.finish(spec.digest))

    async def _on_base(
        self, call: StreamCall, request: RepeatableRequest, spec: VersionSpec, manifest: Manifest
    ) -> bytes | None:
        """Adds the entries of the base version; returns the version digest.

        Returns None for a repeated request: it needs only its reply, and its base may have been deleted.
        """

        def look(session: Session) -> Mapping[str, KeptFile | ManifestReference] | None:
            if request.stored(session) is not None:
                return None
            return manifest_rows.base_entries(session, call.principal, spec.base_version_id, spec.entity)

        base = await call.read(look)
        if base is None:
            return None

        def merge() -> bytes:
            manifest.build_on(base, spec.removed_paths)
            return manifest.finish(spec.digest)

        return await asyncio.get_running_loop().run_in_executor(self._hashing, merge)


@dataclass(frozen=True)
class _KnownContent:
    """A checked CommitEqualContentRequest. `manifest` is None where the request has only a digest."""

    spec: VersionSpec
    manifest: Manifest | None = None
    digest: bytes = b""


def _spec(header: pb.VersionHeader) -> VersionSpec:
    raw = VersionSpec(
        entity=header.entity,
        project=header.project,
        name=header.name,
        type=header.type,
        description=header.description,
        metadata=convert.values_to_python(header.metadata, "header.metadata"),
        tags=tuple(header.tags),
        aliases=tuple(header.aliases),
        run_id=header.run_id,
        history_step=header.history_step if header.HasField("history_step") else None,
        ttl=header.ttl.ToMicroseconds() if header.HasField("ttl") else None,
        digest=parse_digest("header.digest", header.digest) if header.digest else None,
        base_version_id=_id("header.base_version_id", header.base_version_id),
        removed_paths=tuple(header.removed_paths),
    )
    return commits.checked(raw)


def _id(field: str, text: str) -> str:
    return fields.parse_id(field, text) if text else ""


def _add_entries(manifest: Manifest, message: pb.CommitModelArtifactRequest) -> None:
    for entry in message.entries:
        chunks = [Chunk(chunk.digest, chunk.size_bytes) for chunk in entry.chunks]
        if entry.reference_uri:
            _add_reference(manifest, entry)
        elif entry.continued:
            manifest.continue_file(entry.path, chunks)
        else:
            manifest.add_file(entry.path, chunks, size=_size(entry), digest=entry.digest, sha256=entry.sha256)


def _known(request: pb.CommitEqualContentRequest, spec: VersionSpec, manifest: Manifest) -> Manifest:
    """The manifest of a request that names files by their digests."""
    if spec.base_version_id:
        raise errors.InvalidField.of("header.base_version_id", "is supported by CommitModelArtifact only")
    for index, entry in enumerate(request.entries):
        if entry.chunks or entry.continued:
            raise errors.InvalidField.of(
                f"entries[{index}].chunks", "are supported by CommitModelArtifact only"
            )
        if entry.reference_uri:
            _add_reference(manifest, entry)
        else:
            manifest.add_known(entry.path, size=_size(entry), digest=entry.digest, sha256=entry.sha256)
    return manifest


def _add_reference(manifest: Manifest, entry: pb.ManifestEntry) -> None:
    if entry.chunks or entry.digest:
        raise errors.InvalidField.of("entries.reference_uri", "an entry is a file or a reference, not both")
    manifest.add_reference(entry.path, entry.reference_uri, entry.reference_tag, _size(entry))


def _size(entry: pb.ManifestEntry) -> int | None:
    return entry.size_bytes if entry.HasField("size_bytes") else None
