"""Comparisons of versions as messages."""

from __future__ import annotations

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.domain.content.comparison import Change, Side, Total


def change_message(change: Change) -> pb.FileChange:
    """The message of a path that differs."""
    kind = pb.FILE_CHANGE_KIND_CHANGED
    if change.base is None:
        kind = pb.FILE_CHANGE_KIND_ADDED
    elif change.entry is None:
        kind = pb.FILE_CHANGE_KIND_REMOVED
    return pb.FileChange(
        path=change.path.decode(),
        kind=kind,
        entry=_entry(change.entry) if change.entry else None,
        base_entry=_entry(change.base) if change.base else None,
        shared_bytes=change.shared,
    )


def total_message(total: Total) -> pb.VersionComparison:
    """The message of the sums."""
    return pb.VersionComparison(
        added_count=total.added.number,
        added_bytes=total.added.size,
        removed_count=total.removed.number,
        removed_bytes=total.removed.size,
        changed_count=total.changed.number,
        changed_bytes=total.changed.size,
        unchanged_count=total.unchanged.number,
        unchanged_bytes=total.unchanged.size,
        shared_bytes=total.shared,
    )


def _entry(side: Side) -> pb.ManifestEntry:
    return pb.ManifestEntry(
        size_bytes=side.size,
        digest=side.digest.hex() if side.digest else "",
        sha256=side.sha256.hex() if side.sha256 else "",
        reference_uri=side.uri,
        reference_tag=side.tag,
    )
