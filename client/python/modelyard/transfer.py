"""Moves bytes between local files and the server: `upload`, `download`, `manifest`.

The engines behind these functions are loaded with the first call, since they
need gRPC.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import allocator
from modelyard import progress as progress_display
from modelyard.cache import Cache
from modelyard.manifest import Connection, FileEntry, LocalFile, VersionDraft, manifest
from modelyard.progress import SILENT, Progress

if TYPE_CHECKING:
    from modelyard.v1 import model_artifact_pb2 as pb

__all__ = [
    "SILENT",
    "Cache",
    "Connection",
    "FileEntry",
    "LocalFile",
    "Progress",
    "VersionDraft",
    "download",
    "manifest",
    "upload",
]


def upload(
    connection: Connection,
    header: VersionDraft,
    files: Sequence[LocalFile],
    *,
    references: Sequence[FileEntry] = (),
    progress: Progress | None = None,
    request_id: str | None = None,
) -> tuple[pb.ModelArtifactVersion, bool]:
    """Sends what the server does not have of the files, and commits a version of them.

    Returns the version, and False where a live version of the name had this
    content already. Calling again with the same `request_id` and content gives
    the same version; after a break only what was not acknowledged is sent.
    A server that goes away is waited for, up to 60 s without progress. Memory
    stays below 100 MiB whatever the size of the files.

    `progress` is told how far it is; by default a bar shows it on a terminal,
    `SILENT` shows nothing.

    Errors: errors.Error for a file that changes while it is read or is no
    regular file, OSError, and what the server refuses as errors.CommError.
    """
    from modelyard import upload as engine

    allocator.tune()
    display = progress or progress_display.automatic()
    try:
        return engine.run(connection, header, files, references, display, request_id or uuid.uuid4().hex)
    finally:
        display.close()


def download(
    connection: Connection,
    version: pb.ModelArtifactVersion,
    root: Path,
    *,
    path_prefix: str = "",
    progress: Progress | None = None,
    cache: Cache | None = None,
    skip_cache: bool = False,
) -> None:
    """Puts the files of a version into `root`, each at its manifest path.

    `path_prefix` limits it to paths that start with it; references are left
    out. Files that are there with the right content stay as they are, others
    are replaced whole: a file is either the old one or the new one at any
    moment. What is in `cache` comes from there unless `skip_cache`. An
    interrupted download goes on where it was when it is called again.

    Errors: errors.Error for a manifest path that leaves `root` or goes through
    a symbolic link, errors.ChunkCorrupt for bytes that do not match their
    digest twice, OSError, errors.CommError.
    """
    from modelyard import download as engine

    allocator.tune()
    display = progress or progress_display.automatic()
    try:
        engine.run(connection, version, root, path_prefix, display, None if skip_cache else cache)
    finally:
        display.close()
