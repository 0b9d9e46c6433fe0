"""Asks the server how two versions differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modelyard.contract import errors
from modelyard.contract.limits import MANIFEST_PAGE_ENTRIES
from modelyard.query.comparison import ADDED, CHANGED, REMOVED, Comparison, FileChange, numbers, value_changes
from modelyard.rpc import records, run_calls, validation
from modelyard.rpc.connection import Connection
from modelyard.rpc.list_calls import pages
from modelyard.v1 import model_artifact_pb2 as pb

_KINDS = {
    pb.FILE_CHANGE_KIND_ADDED: ADDED,
    pb.FILE_CHANGE_KIND_REMOVED: REMOVED,
    pb.FILE_CHANGE_KIND_CHANGED: CHANGED,
}


def compare(
    connection: Connection, version: records.Version, base: records.Version, path_prefix: str = ""
) -> Comparison:
    """What differs between the versions; of files, those below a prefix. Errors: NotFound, ReplyInvalid."""
    request = pb.CompareModelArtifactVersionsRequest(
        id=version.id, base_id=base.id, path_prefix=path_prefix, page_size=MANIFEST_PAGE_ENTRIES
    )
    replies = list(pages(connection.artifacts.CompareModelArtifactVersions, request))
    files = tuple(_file_change(change) for reply in replies for change in reply.changes)
    _check_paths(files)
    total = replies[0].total
    return Comparison(
        ref=version.ref,
        base_ref=base.ref,
        files=files,
        unchanged_count=total.unchanged_count,
        unchanged_bytes=total.unchanged_bytes,
        size_bytes=total.added_bytes + total.changed_bytes + total.unchanged_bytes,
        shared_bytes=total.shared_bytes if total.HasField("shared_bytes") else None,
        metadata=value_changes(version.metadata, base.metadata),
        metrics=value_changes(_results(connection, version), _results(connection, base)),
    )


def _results(connection: Connection, version: records.Version) -> Mapping[str, Any]:
    """The numbers in the summary of the run that made a version; none where there is no such run."""
    if not version.producer_run_id:
        return {}
    try:
        return numbers(run_calls.run_by_id(connection, version.producer_run_id).summary)
    except errors.NotFound:
        return {}


def _file_change(change: Any) -> FileChange:
    if change.kind not in _KINDS:
        validation.refuse(f"{change.path[:200]!r} differs in a way that this release does not know")
    entry, base = change.entry, change.base_entry
    return FileChange(
        path=change.path,
        kind=_KINDS[change.kind],
        size=entry.size_bytes if entry.HasField("size_bytes") else None,
        base_size=base.size_bytes if base.HasField("size_bytes") else None,
        digest=entry.digest,
        base_digest=base.digest,
        reference=entry.reference_uri,
        base_reference=base.reference_uri,
        shared_bytes=change.shared_bytes if change.HasField("shared_bytes") else None,
    )


def _check_paths(files: Iterable[FileChange]) -> None:
    """Checks the paths of each of the two versions as those of its manifest."""
    for other in (ADDED, REMOVED):
        validation.check_paths([records.FileEntry(file.path, None) for file in files if file.kind != other])
