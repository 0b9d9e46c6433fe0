"""Moves bytes between local files and the server: `upload`, `download`, `entries`. Imports gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.cache.content import Cache
from modelyard.host import allocator
from modelyard.host.local_files import LocalFile
from modelyard.rpc.connection import Connection
from modelyard.rpc.manifest import NewVersion, manifest, whole_manifest
from modelyard.rpc.records import FileEntry
from modelyard.transfer import download as download_engine
from modelyard.transfer import progress as progress_display
from modelyard.transfer.progress import SILENT, Progress
from modelyard.transfer.upload import Begun, begin, upload

if TYPE_CHECKING:
    from modelyard.rpc import records
    from modelyard.v1 import model_artifact_pb2 as pb

__all__ = [
    "SILENT",
    "Begun",
    "Cache",
    "Connection",
    "FileEntry",
    "LocalFile",
    "NewVersion",
    "Progress",
    "begin",
    "download",
    "entries",
    "manifest",
    "upload",
    "whole_manifest",
]


def download(
    connection: Connection | None,
    version: pb.ModelArtifactVersion | records.Version,
    root: Path,
    *,
    path_prefix: str = "",
    only: str = "",
    progress: Progress | None = None,
    cache: Cache | None = None,
    skip_cache: bool = False,
    allow_missing_references: bool = False,
) -> Sequence[FileEntry]:
    """Puts the files of a version into `root`, each at its manifest path, and returns their entries.

    `path_prefix` limits it to paths that start with it, `only` to one path.
    Files that have the right content already are kept, others are replaced
    atomically. Files in `cache` are taken from there unless `skip_cache`. An
    interrupted download continues when it is called again. References are
    fetched from their stores; `allow_missing_references` leaves out those whose
    object does not exist, with a warning.

    Without a connection everything has to be in the folder or in the cache,
    else RuntimeError.

    Errors: errors.ReplyInvalid for a manifest that is not the version's or has
    a path that leaves `root`, errors.Error for a path through a symbolic link,
    errors.ChunkCorrupt for bytes that do not match their digest twice,
    errors.LocalDiskFull (before the first byte where what is missing surely does
    not fit), errors.ReferenceMissing and errors.ReferenceChanged, OSError,
    errors.CommError.
    """
    allocator.tune()
    display = progress or progress_display.automatic()
    try:
        return download_engine.run(
            connection,
            version,
            root,
            path_prefix or only,
            display,
            None if skip_cache else cache,
            only=only,
            allow_missing_references=allow_missing_references,
        )
    finally:
        display.close()


def entries(
    connection: Connection | None, version: records.Version, *, cache: Cache | None = None
) -> Sequence[FileEntry]:
    """All entries of a version with their chunks, from the cache where they are kept.

    Errors: NotFound, ReplyInvalid.
    """
    return download_engine.entries_of(connection, version, "", cache)
