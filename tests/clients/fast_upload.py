"""The fast upload in plain stubs, step by step, for tests that break it in the middle."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from modelyard.contract import chunking
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2
from tests.parts.server import Stubs

CHUNK = 300_000


def random_chunks(count: int, size: int = CHUNK) -> list[bytes]:
    """Chunks of content that no server has."""
    return [os.urandom(size) for _ in range(count)]


def message_chunk(data: bytes) -> upload_pb2.Chunk:
    """How a chunk is named on the wire."""
    return upload_pb2.Chunk(digest=hashlib.sha256(data).digest(), size_bytes=len(data))


def create(stubs: Stubs, **fields: Any) -> str:
    """A new upload."""
    return str(stubs.uploads.CreateUpload(upload_pb2.CreateUploadRequest(**fields)).upload_id)


def find_missing(stubs: Stubs, upload_id: str, chunks: Iterable[bytes]) -> list[int]:
    """Indexes of the chunks that have to be sent."""
    request = upload_pb2.FindMissingChunksRequest(
        upload_id=upload_id, chunks=[message_chunk(chunk) for chunk in chunks]
    )
    return list(stubs.uploads.FindMissingChunks(request).missing)


def send(stubs: Stubs, upload_id: str, chunks: Sequence[bytes]) -> int:
    """Sends the chunks, one a message, and returns how many were acknowledged."""

    def messages() -> Iterator[upload_pb2.UploadChunksRequest]:
        for index, data in enumerate(chunks):
            yield upload_pb2.UploadChunksRequest(
                upload_id="" if index else upload_id, chunks=[message_chunk(data)], data=data
            )

    durable = 0
    for reply in stubs.uploads.UploadChunks(messages(), timeout=60):
        durable = reply.durable_chunks
    return durable


def entry(path: str, chunks: Sequence[bytes], **fields: Any) -> pb.ManifestEntry:
    """A file of a manifest."""
    given = {"size_bytes": sum(len(chunk) for chunk in chunks)} | fields
    return pb.ManifestEntry(path=path, chunks=[message_chunk(chunk) for chunk in chunks], **given)


def commit(
    stubs: Stubs,
    upload_id: str,
    header: pb.VersionHeader,
    entries: Sequence[pb.ManifestEntry],
    request_id: str = "",
) -> pb.CommitModelArtifactResponse:
    """Commits the upload."""
    messages = [
        pb.CommitModelArtifactRequest(upload_id=upload_id, header=header, request_id=request_id),
        pb.CommitModelArtifactRequest(entries=entries),
    ]
    reply: pb.CommitModelArtifactResponse = stubs.artifacts.CommitModelArtifact(iter(messages), timeout=60)
    return reply


def log(
    stubs: Stubs,
    project: str,
    name: str,
    files: Mapping[str, Sequence[bytes]],
    request_id: str = "",
    **header: Any,
) -> pb.CommitModelArtifactResponse:
    """The whole fast upload: what the SDK does, without its speed."""
    upload_id = create(stubs, project=project)
    chunks = [chunk for parts in files.values() for chunk in parts]
    if chunks:
        missing = find_missing(stubs, upload_id, chunks)
        if missing:
            send(stubs, upload_id, [chunks[index] for index in missing])
    fields = pb.VersionHeader(project=project, name=name, **header)
    entries = [entry(path, parts) for path, parts in files.items()]
    return commit(stubs, upload_id, fields, entries, request_id)


def read(stubs: Stubs, version_id: str, path: str, offset: int = 0, length: int | None = None) -> bytes:
    """A file, or a range of it, by DownloadFile."""
    request = pb.DownloadFileRequest(id=version_id, path=path, offset=offset, length=length)
    return b"".join(part.data for part in stubs.artifacts.DownloadFile(request, timeout=60))


def file_digest(chunks: Sequence[bytes]) -> str:
    """The digest of a file, by the published rule."""
    return chunking.file_digest(
        chunking.Chunk(hashlib.sha256(chunk).digest(), len(chunk)) for chunk in chunks
    ).hex()


def cut(data: bytes) -> list[bytes]:
    """A file as the published cut makes chunks of it."""
    ends = list(chunking.cut_points(data))
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
