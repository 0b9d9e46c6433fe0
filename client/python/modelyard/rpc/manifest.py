"""Manifests as entries and as messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from modelyard.contract import errors
from modelyard.contract.chunking import Chunk
from modelyard.rpc import messages, retry, validation
from modelyard.rpc.connection import Connection
from modelyard.rpc.records import FileEntry
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2

PAGE_SIZE = 5_000
CHUNKS_PER_MESSAGE = 10_000  # 40 bytes each on the wire
MESSAGE_BYTES = 1 << 20
_ENTRY_OVERHEAD = 128  # digest in hex, sizes and field headers


@dataclass(frozen=True)
class NewVersion:
    """The properties of a new version besides its content, as `VersionHeader` in the protos.

    `history_step` is None when not known; `ttl_seconds` None means for ever. The
    entries of `base_version_id` are taken over, without `removed_paths`: then
    the files to upload are not the whole content, and its digest is not known.
    """

    entity: str
    project: str
    name: str
    type: str
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    aliases: Sequence[str] = ()
    run_id: str = ""
    history_step: int | None = None
    ttl_seconds: float | None = None
    base_version_id: str = ""
    removed_paths: Sequence[str] = ()

    def message(self, digest: bytes) -> pb.VersionHeader:
        """The message, with the expected version digest unless there is a base version."""
        header = pb.VersionHeader(
            entity=self.entity,
            project=self.project,
            name=self.name,
            type=self.type,
            description=self.description,
            metadata={key: messages.value_message(value) for key, value in self.metadata.items()},
            tags=self.tags,
            aliases=self.aliases,
            run_id=self.run_id,
            history_step=self.history_step,
            digest="" if self.base_version_id else digest.hex(),
            base_version_id=self.base_version_id,
            removed_paths=self.removed_paths,
        )
        if self.ttl_seconds is not None:
            ttl = Duration()
            ttl.FromMilliseconds(round(self.ttl_seconds * 1000))
            header.ttl.CopyFrom(ttl)
        return header


def manifest(connection: Connection, version_id: str, *, path_prefix: str = "") -> list[FileEntry]:
    """The entries of a version below a prefix, with their chunks, by path. Errors: NotFound, ReplyInvalid."""
    entries: list[pb.ManifestEntry] = []
    token = ""
    while True:
        page = connection.artifacts.ListModelArtifactFiles(
            pb.ListModelArtifactFilesRequest(
                id=version_id,
                path_prefix=path_prefix,
                include_chunks=True,
                page_size=PAGE_SIZE,
                page_token=token,
            )
        )
        entries.extend(page.entries)
        token = page.next_page_token
        if not token:
            return _joined(entries)


def sha256sums(connection: Connection, version_id: str) -> dict[str, str]:
    """The plain SHA-256 of every file of a version by path, made by the server where it has to be.

    Errors: NotFound, ChunkCorrupt, ReplyInvalid.
    """
    request = pb.HashModelArtifactFilesRequest(id=version_id)
    # A repeated call is quick where the one before came: what it made is kept.
    replies = retry.Retrier(connection).run(
        lambda: list(connection.artifacts.HashModelArtifactFiles(request))
    )
    found: dict[str, str] = {}
    for reply in replies:
        for file in reply.files:
            validation.check_digest(file.sha256, f"the SHA-256 of {file.path!r}")
            found[file.path] = file.sha256
    validation.check_paths([FileEntry(path, None) for path in found])
    return found


def whole_manifest(connection: Connection, version: Any) -> list[FileEntry]:
    """All entries of a version, checked against its digest. Errors: NotFound, ReplyInvalid."""
    entries = manifest(connection, version.id)
    validation.check_manifest(entries, version.digest)
    validation.check_size(entries, version)
    return entries


def entries_to_bytes(entries: Sequence[FileEntry]) -> bytes:
    """Serializes entries with their chunks, for the cache."""
    messages = [message for entry in entries for message in entry_messages(entry)]
    return pb.ListModelArtifactFilesResponse(entries=messages).SerializeToString()


def entries_from_bytes(data: bytes) -> list[FileEntry]:
    """The inverse of `entries_to_bytes`. Errors: ReplyInvalid for damaged data."""
    try:
        message = pb.ListModelArtifactFilesResponse.FromString(data)
    except DecodeError as error:
        raise errors.ReplyInvalid(f"the cached manifest is damaged: {error}") from None
    return _joined(message.entries)


def _joined(entries: Sequence[pb.ManifestEntry]) -> list[FileEntry]:
    found: list[tuple[pb.ManifestEntry, list[Chunk]]] = []
    for entry in entries:
        chunks = [Chunk(chunk.digest, chunk.size_bytes) for chunk in entry.chunks]
        if not entry.continued:
            found.append((entry, chunks))
        elif found and found[-1][0].path == entry.path:
            found[-1][1].extend(chunks)
        else:
            validation.refuse(f"{entry.path[:200]!r} continues without its beginning")
    joined = [_file_entry(entry, chunks) for entry, chunks in found]
    validation.check_entries(joined)
    return joined


def _file_entry(entry: pb.ManifestEntry, chunks: Sequence[Chunk]) -> FileEntry:
    return FileEntry(
        path=entry.path,
        size=entry.size_bytes if entry.HasField("size_bytes") else None,
        digest=_raw_digest(entry),
        chunks=tuple(chunks),
        uri=entry.reference_uri,
        tag=entry.reference_tag,
        sha256=entry.sha256,
    )


def _raw_digest(entry: pb.ManifestEntry) -> bytes:
    if entry.reference_uri and not entry.digest:
        return b""
    return bytes.fromhex(validation.check_digest(entry.digest, f"the digest of {entry.path[:200]!r}"))


def commit_messages(
    upload_id: str, header: pb.VersionHeader, entries: Sequence[FileEntry], request_id: str
) -> Iterator[pb.CommitModelArtifactRequest]:
    """The stream of CommitModelArtifact: the header, then the manifest in messages of about 1 MiB."""
    yield pb.CommitModelArtifactRequest(upload_id=upload_id, header=header, request_id=request_id)
    batch: list[pb.ManifestEntry] = []
    room = MESSAGE_BYTES
    for entry in entries:
        for message in entry_messages(entry):
            # Chunks are 40 bytes and texts at most 4 KiB, so this stays far below the limit of 4 MiB.
            size = len(message.chunks) * 42 + len(entry.path) * 4 + len(entry.uri) * 4 + _ENTRY_OVERHEAD
            if batch and size > room:
                yield pb.CommitModelArtifactRequest(entries=batch)
                batch, room = [], MESSAGE_BYTES
            batch.append(message)
            room -= size
    if batch:
        yield pb.CommitModelArtifactRequest(entries=batch)


def entry_messages(entry: FileEntry) -> Iterator[pb.ManifestEntry]:
    """An entry on the wire: several messages where it has many chunks."""
    for start in range(0, max(1, len(entry.chunks)), CHUNKS_PER_MESSAGE):
        chunks = [
            upload_pb2.Chunk(digest=chunk.digest, size_bytes=chunk.size)
            for chunk in entry.chunks[start : start + CHUNKS_PER_MESSAGE]
        ]
        if start:
            yield pb.ManifestEntry(path=entry.path, chunks=chunks, continued=True)
            continue
        yield pb.ManifestEntry(
            path=entry.path,
            size_bytes=entry.size,
            digest=entry.digest.hex(),
            chunks=chunks,
            sha256=entry.sha256,
            reference_uri=entry.uri,
            reference_tag=entry.tag,
        )
