"""CommitModelArtifact and UploadModelArtifact: the two ways a version comes to be."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard.chunking import Chunk
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server import failpoints
from modelyard_server.db.tables import ArtifactVersion
from modelyard_server.domain import commits, requests, uploads, versions
from modelyard_server.domain.commits import VersionDraft
from modelyard_server.domain.manifests import Manifest, parse_digest
from modelyard_server.packs.writer import PackWriter
from modelyard_server.rpc import convert
from modelyard_server.rpc.call import StreamCall
from modelyard_server.rpc.convert_artifacts import version_message
from modelyard_server.rpc.cutting import Cutter
from modelyard_server.rpc.limits import StreamLimit

R = TypeVar("R", bound=Message)

COMMIT = "/modelyard.v1.ModelArtifactService/CommitModelArtifact"
UPLOAD = "/modelyard.v1.ModelArtifactService/UploadModelArtifact"


class CommitMethods:
    """The uploads of ModelArtifactService."""

    def __init__(self, writer: PackWriter, pool: Executor, streams: StreamLimit) -> None:
        self._writer = writer
        self._hashing = pool
        self._upload_streams = streams

    async def CommitModelArtifact(
        self, stream: AsyncIterator[pb.CommitModelArtifactRequest], call: StreamCall
    ) -> pb.CommitModelArtifactResponse:
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
        return await _commit(
            call, COMMIT, first.header, upload_id, draft, manifest, pb.CommitModelArtifactResponse
        )

    async def UploadModelArtifact(
        self, stream: AsyncIterator[pb.UploadModelArtifactRequest], call: StreamCall
    ) -> pb.UploadModelArtifactResponse:
        with self._upload_streams:
            first = await anext(stream, None)
            if first is None or not first.HasField("header"):
                raise errors.InvalidField.of("header", "the first message must have it")
            header, draft = first.header, _draft(first.header)

            def open_upload(session: Session) -> tuple[str, int]:
                upload = uploads.create(session, call.principal, draft.entity, draft.project)
                return upload.id, upload.entity_id

            upload_id, entity_id = await call.write(open_upload)
            try:
                sink = self._writer.stream(upload_id, entity_id)
                cutter = Cutter(call, sink, upload_id, self._hashing)
                manifest = await cutter.consume(first, stream)
                return await _commit(
                    call, UPLOAD, header, upload_id, draft, manifest, pb.UploadModelArtifactResponse
                )
            finally:
                await call.write(lambda session: uploads.remove(session, call.principal, upload_id))


async def _commit(
    call: StreamCall,
    method: str,
    header: pb.VersionHeader,
    upload_id: str,
    draft: VersionDraft,
    manifest: Manifest,
    response: Callable[..., R],
) -> R:
    """Commits, or gives back the reply of the same request before."""
    digest = manifest.finish(draft.digest)
    content = hashlib.sha256(header.SerializeToString(deterministic=True) + digest).digest()

    def rule(session: Session) -> R:
        if header.request_id:
            stored = requests.begin(session, call.principal, method, header.request_id, content)
            if stored is not None:
                reply = response()
                reply.ParseFromString(stored)
                return reply
        version, created = commits.commit(session, call.principal, upload_id, draft, manifest, digest)
        reply = response(version=_message(session, version), created=created)
        if header.request_id:
            encoded = reply.SerializeToString()
            requests.finish(session, call.principal, method, header.request_id, encoded)
        return reply

    failpoints.hit("commit.before")
    reply = await call.write(rule)
    failpoints.hit("commit.after")
    return reply


def _message(session: Session, version: ArtifactVersion) -> pb.ModelArtifactVersion:
    session.flush()
    return version_message(versions.describe(session, [version])[0])


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
    )
    return commits.checked(raw)


def _add_entries(manifest: Manifest, message: pb.CommitModelArtifactRequest) -> None:
    for entry in message.entries:
        chunks = [Chunk(chunk.digest, chunk.size) for chunk in entry.chunks]
        if entry.reference_uri:
            if chunks or entry.digest:
                raise errors.InvalidField.of(
                    "entries.reference_uri", "an entry is a file or a reference, not both"
                )
            manifest.add_reference(entry.path, entry.reference_uri, entry.reference_tag, entry.size)
        elif entry.continued:
            manifest.continue_file(entry.path, chunks)
        else:
            manifest.add_file(entry.path, chunks, size=entry.size, digest=entry.digest, sha256=entry.sha256)
