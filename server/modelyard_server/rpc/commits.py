"""CommitModelArtifact, UploadModelArtifact and CommitEqualContent: how a version comes to be."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard.chunking import Chunk
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server import failpoints
from modelyard_server.domain import commits, manifest_rows, requests, uploads
from modelyard_server.domain.commits import VersionDraft
from modelyard_server.domain.manifests import KeptFile, Manifest, ReferenceDraft, parse_digest
from modelyard_server.domain.principals import Principal
from modelyard_server.packs.budget import ByteBudget
from modelyard_server.packs.writer import PackWriter
from modelyard_server.rpc import convert
from modelyard_server.rpc.call import Call, StreamCall
from modelyard_server.rpc.convert_artifacts import version_message
from modelyard_server.rpc.cutting import Cutter
from modelyard_server.rpc.limits import StreamLimits
from modelyard_server.rpc.storing import Storing

R = TypeVar("R", bound=Message)

COMMIT = "/modelyard.v1.ModelArtifactService/CommitModelArtifact"
UPLOAD = "/modelyard.v1.ModelArtifactService/UploadModelArtifact"


class CommitMethods:
    """The uploads of ModelArtifactService."""

    def __init__(
        self, writer: PackWriter, pool: Executor, streams: StreamLimits, windows: ByteBudget
    ) -> None:
        self._writer = writer
        self._hashing = pool
        self._streams = streams
        self._windows = windows

    async def CommitModelArtifact(
        self, stream: AsyncIterator[pb.CommitModelArtifactRequest], call: StreamCall
    ) -> pb.CommitModelArtifactResponse:
        self._streams.commit.enter(call.principal)
        first = await anext(stream, None)
        if first is None or not first.HasField("header"):
            raise errors.InvalidField.of("header", "the first message must have it")
        upload_id = uploads.parse_id("upload_id", first.upload_id)
        draft = _draft(first.header)
        manifest = Manifest()
        _add_entries(manifest, first)
        async for message in stream:
            if message.upload_id or message.HasField("header"):
                raise errors.InvalidField.of("header", "belongs into the first message only")
            _add_entries(manifest, message)
        return await self._commit(
            call, COMMIT, first.header, upload_id, draft, manifest, pb.CommitModelArtifactResponse
        )

    def CommitEqualContent(
        self, request: pb.CommitEqualContentRequest, call: Call
    ) -> pb.CommitEqualContentResponse:
        draft = _draft(request.header)
        if not request.entries:
            found = commits.commit_equal(call.session, call.principal, draft)
            return pb.CommitEqualContentResponse(version=version_message(found))
        manifest = _known(request, draft)
        done = commits.commit_known(
            call.session, call.principal, draft, manifest, manifest.finish(draft.digest)
        )
        if done is not None:
            version, created = done
            return pb.CommitEqualContentResponse(version=version_message(version), created=created)
        if not request.open_upload:
            raise errors.ChunksMissing("not all of the files are stored; upload them")
        upload = uploads.create(call.session, call.principal, draft.entity, draft.project)
        return pb.CommitEqualContentResponse(upload_id=upload.id)

    async def UploadModelArtifact(
        self, stream: AsyncIterator[pb.UploadModelArtifactRequest], call: StreamCall
    ) -> pb.UploadModelArtifactResponse:
        self._streams.upload.enter(call.principal)
        first = await anext(stream, None)
        if first is None or not first.HasField("header"):
            raise errors.InvalidField.of("header", "the first message must have it")
        header, draft = first.header, _draft(first.header)
        if draft.base_version_id:
            raise errors.InvalidField.of("header.base_version_id", "goes with CommitModelArtifact only")

        def open_upload(session: Session) -> tuple[str, int]:
            upload = uploads.create(session, call.principal, draft.entity, draft.project)
            return upload.id, upload.entity_id

        upload_id, entity_id = await call.write(open_upload)
        try:
            storing = Storing(call, self._writer, upload_id, entity_id)
            manifest = await Cutter(storing, self._hashing, self._windows).consume(first, stream)
            return await self._commit(
                call, UPLOAD, header, upload_id, draft, manifest, pb.UploadModelArtifactResponse
            )
        finally:
            await call.write(lambda session: uploads.remove(session, call.principal, upload_id))

    async def _commit(
        self,
        call: StreamCall,
        method: str,
        header: pb.VersionHeader,
        upload_id: str,
        draft: VersionDraft,
        manifest: Manifest,
        response: Callable[..., R],
    ) -> R:
        """Commits, or gives back the reply of the same request before."""
        given = manifest.digest() if draft.base_version_id else manifest.finish(draft.digest)
        content = hashlib.sha256(header.SerializeToString(deterministic=True) + given).digest()
        request = _Request(call.principal, method, header.request_id, content)
        whole: bytes | None = given
        if draft.base_version_id:
            whole = await self._on_base(call, request, draft, manifest)

        def rule(session: Session) -> R:
            stored = request.begin(session)
            if stored is not None:
                reply = response()
                reply.ParseFromString(stored)
                return reply
            if whole is None:
                raise errors.RetryTransaction("the reply of this request has just gone; repeat the call")
            version, created = commits.commit(session, call.principal, upload_id, draft, manifest, whole)
            reply = response(version=version_message(version), created=created)
            request.finish(session, reply.SerializeToString())
            return reply

        failpoints.hit("commit.before")
        reply = await call.write(rule)
        failpoints.hit("commit.after")
        return reply

    async def _on_base(
        self, call: StreamCall, request: _Request, draft: VersionDraft, manifest: Manifest
    ) -> bytes | None:
        """The version digest of the manifest once it has the entries of its base version.

        None for a request that took effect: only its reply is needed, and its base may be gone since.
        """

        def look(session: Session) -> Mapping[str, KeptFile | ReferenceDraft] | None:
            if request.stored(session) is not None:
                return None
            return manifest_rows.base_entries(session, call.principal, draft.base_version_id, draft.entity)

        base = await call.read(look)
        if base is None:
            return None

        def merge() -> bytes:
            manifest.build_on(base, draft.removed_paths)
            return manifest.finish(draft.digest)

        return await asyncio.get_running_loop().run_in_executor(self._hashing, merge)


@dataclass(frozen=True)
class _Request:
    """A write that a client may repeat; without a request_id it is a new one each time."""

    principal: Principal
    method: str
    request_id: str
    content: bytes

    def stored(self, session: Session) -> bytes | None:
        """The reply that it got before."""
        if not self.request_id:
            return None
        return requests.stored(session, self.principal, self.method, self.request_id, self.content)

    def begin(self, session: Session) -> bytes | None:
        """The same, after taking the request's row where there is none."""
        if not self.request_id:
            return None
        return requests.begin(session, self.principal, self.method, self.request_id, self.content)

    def finish(self, session: Session, reply: bytes) -> None:
        """Stores the reply."""
        if self.request_id:
            requests.finish(session, self.principal, self.method, self.request_id, reply)


def _draft(header: pb.VersionHeader) -> VersionDraft:
    raw = VersionDraft(
        entity=header.entity,
        project=header.project,
        name=header.name,
        type=header.type,
        description=header.description,
        metadata=convert.values_to_python(header.metadata, "header.metadata"),
        tags=tuple(header.tags),
        aliases=tuple(header.aliases),
        run_id=header.run_id,
        history_step=header.history_step,
        ttl=header.ttl.ToMicroseconds() if header.HasField("ttl") else None,
        digest=parse_digest("header.digest", header.digest) if header.digest else None,
        base_version_id=_id("header.base_version_id", header.base_version_id),
        removed_paths=tuple(header.removed_paths),
    )
    return commits.checked(raw)


def _id(field: str, text: str) -> str:
    return uploads.parse_id(field, text) if text else ""


def _add_entries(manifest: Manifest, message: pb.CommitModelArtifactRequest) -> None:
    for entry in message.entries:
        chunks = [Chunk(chunk.digest, chunk.size) for chunk in entry.chunks]
        if entry.reference_uri:
            _add_reference(manifest, entry)
        elif entry.continued:
            manifest.continue_file(entry.path, chunks)
        else:
            manifest.add_file(entry.path, chunks, size=entry.size, digest=entry.digest, sha256=entry.sha256)


def _known(request: pb.CommitEqualContentRequest, draft: VersionDraft) -> Manifest:
    """The manifest of files that are named by their digest."""
    if draft.base_version_id:
        raise errors.InvalidField.of("header.base_version_id", "goes with CommitModelArtifact only")
    manifest = Manifest()
    for index, entry in enumerate(request.entries):
        if entry.chunks or entry.continued:
            raise errors.InvalidField.of(f"entries[{index}].chunks", "go with CommitModelArtifact only")
        if entry.reference_uri:
            _add_reference(manifest, entry)
        else:
            manifest.add_known(entry.path, size=entry.size, digest=entry.digest, sha256=entry.sha256)
    return manifest


def _add_reference(manifest: Manifest, entry: pb.ManifestEntry) -> None:
    if entry.chunks or entry.digest:
        raise errors.InvalidField.of("entries.reference_uri", "an entry is a file or a reference, not both")
    manifest.add_reference(entry.path, entry.reference_uri, entry.reference_tag, entry.size)
