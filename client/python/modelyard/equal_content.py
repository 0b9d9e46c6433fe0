"""Content that a version has already: known without reading the files, taken with one call."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard import chunking, errors
from modelyard.chunking import Entry
from modelyard.known_files import KnownFiles
from modelyard.manifest import Connection, FileEntry, VersionDraft
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.windows import Source


def find(
    connection: Connection,
    draft: VersionDraft,
    sources: Sequence[Source],
    references: Sequence[FileEntry],
    known: KnownFiles,
    request_id: str,
) -> pb.ModelArtifactVersion | None:
    """The version that has the content of all files, with the draft's aliases; None where that is not known.

    Files that are known are recalled.
    """
    digest = None if draft.base_version_id else known.digest(sources, references)
    listed = digest is not None
    if digest is None:
        known.recall(sources)
        digest = None if draft.base_version_id else _digest(sources, references)
    if digest is None:
        return None
    request = pb.CommitEqualContentRequest(header=draft.header(digest, ""), request_id=request_id)
    try:
        found: pb.CommitEqualContentResponse = connection.artifacts.CommitEqualContent(request)
    except (errors.NotFound, errors.Unimplemented):
        if listed:
            known.recall(sources)
        return None
    if not listed:
        known.remember_digest(sources, references, digest)
    return found.version


def _digest(sources: Sequence[Source], references: Sequence[FileEntry]) -> bytes | None:
    """The version digest, when all files are known."""
    if not any(source.recalled for source in sources):
        return None
    if any(source.size and not source.recalled for source in sources):
        return None
    files = (Entry(source.file.path, source.size, chunking.file_digest(source.chunks)) for source in sources)
    return chunking.version_digest([*files, *(entry.digested() for entry in references)])
