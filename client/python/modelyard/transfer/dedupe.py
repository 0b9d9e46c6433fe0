"""What an upload asks first: whether content that is stored already makes the version, and whether it may be.

Files in the upload index need not be read for it; small content is read at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.cache.upload_index import UploadIndex
from modelyard.contract import chunking, errors
from modelyard.contract.chunking import Chunk
from modelyard.contract.limits import EQUAL_CONTENT_ENTRIES
from modelyard.rpc import validation
from modelyard.rpc.connection import Connection
from modelyard.rpc.manifest import NewVersion, entry_messages
from modelyard.rpc.records import FileEntry
from modelyard.transfer.file_reader import Source
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2

REQUEST_BYTES = 3 << 20
"""Larger manifests are committed by an upload: messages are limited to 4 MiB."""
SMALL_FILES = 100
SMALL_BYTES = 1 << 20
"""Content up to this size is read and hashed at once, which is faster than asking chunk by chunk."""


def commit(
    connection: Connection,
    header: NewVersion,
    sources: Sequence[Source],
    references: Sequence[FileEntry],
    known: UploadIndex,
    request_id: str,
) -> pb.CommitEqualContentResponse | None:
    """A version of all files, or an upload for them; None if the server was not asked.

    Files are recalled from the upload index, unless all are small. Errors:
    errors.Error, OSError.
    """
    if header.base_version_id:
        known.recall(sources)
        return None
    listed = known.digest(sources, references)
    if listed is not None:
        request = pb.CommitEqualContentRequest(header=header.message(listed), request_id=request_id)
        reply = _ask(connection, request, listed)
        if reply is not None:
            return reply
    if _is_small(sources):
        files = [_entry(source, _read(source)) for source in sources]
    else:
        known.recall(sources)
        files = [_entry(source, source.chunks) for source in sources] if _all_known(sources) else []
    entries = [*files, *references]
    if not files or len(entries) > EQUAL_CONTENT_ENTRIES:
        return None
    digest = chunking.version_digest(entry.digested() for entry in entries)
    request = pb.CommitEqualContentRequest(
        header=header.message(digest),
        entries=[message for entry in entries for message in entry_messages(entry)],
        open_upload=True,
    )
    reply = _ask(connection, request, digest) if request.ByteSize() <= REQUEST_BYTES else None
    if reply is not None and not reply.upload_id:
        known.remember_digest(sources, references, digest)
    return reply


def open_upload(connection: Connection, header: NewVersion) -> str:
    """The id of an upload for a version, after the server has checked all of the header but its digest.

    Errors: what a commit would refuse. An older server only checks the right to write.
    """
    checked = pb.CommitEqualContentRequest(header=header.message(b""), open_upload=True)
    try:
        upload_id: str = connection.artifacts.CommitEqualContent(checked).upload_id
    except errors.Unimplemented:
        pass
    except errors.InvalidField as error:
        if all(field != "header.digest" for field, _ in error.violations):
            raise
    else:
        return upload_id
    request = upload_pb2.CreateUploadRequest(entity=header.entity, project=header.project)
    created: str = connection.uploads.CreateUpload(request).upload_id
    return created


def _ask(
    connection: Connection, request: pb.CommitEqualContentRequest, digest: bytes
) -> pb.CommitEqualContentResponse | None:
    try:
        reply: pb.CommitEqualContentResponse = connection.artifacts.CommitEqualContent(request)
    except (errors.NotFound, errors.Unimplemented):  # also from a server that does not support entries
        return None
    if not reply.upload_id:
        validation.check_same_digest(reply.version.digest, digest)
    return reply


def _is_small(sources: Sequence[Source]) -> bool:
    return 0 < len(sources) <= SMALL_FILES and sum(source.size for source in sources) <= SMALL_BYTES


def _entry(source: Source, chunks: Sequence[Chunk]) -> FileEntry:
    return FileEntry(source.file.path, source.size, chunking.file_digest(chunks))


def _read(source: Source) -> list[Chunk]:
    with source.opened() as raw:
        data = raw.read()
    if len(data) != source.size:
        raise source.changed()
    return chunking.cut(data)


def _all_known(sources: Sequence[Source]) -> bool:
    """Whether the chunks of all files are known; empty files have none."""
    some = any(source.recalled for source in sources)
    return some and all(source.recalled or not source.size for source in sources)
