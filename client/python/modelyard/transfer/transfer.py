"""Moves bytes between local files and the server: `upload`, `download`, `entries`. Imports gRPC."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.cache.content import Cache
from modelyard.host import allocator
from modelyard.host.local_files import LocalFile
from modelyard.rpc.connection import Connection
from modelyard.rpc.manifest import NewVersion, manifest, whole_manifest
from modelyard.rpc.records import FileEntry
from modelyard.transfer import dedupe
from modelyard.transfer import download as download_engine
from modelyard.transfer import progress as progress_display
from modelyard.transfer import upload as upload_engine
from modelyard.transfer.progress import SILENT, Progress
from modelyard.transfer.upload import Begun

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


def begin(
    connection: Connection,
    header: NewVersion,
    files: Sequence[LocalFile],
    references: Sequence[FileEntry],
    *,
    request_id: str,
    cache: Cache,
) -> Begun:
    """Has the server check a version before any of its content is sent, and opens an upload for it.

    Content that the server has already makes the version at once. Errors: as `upload`.
    """
    begun = upload_engine.begin(connection, header, files, references, request_id, cache.upload_index())
    if begun.made or begun.upload_id:
        return begun
    return replace(begun, upload_id=dedupe.open_upload(connection, header))


def upload(
    connection: Connection,
    header: NewVersion,
    files: Sequence[LocalFile],
    *,
    references: Sequence[FileEntry] = (),
    progress: Progress | None = None,
    request_id: str | None = None,
    cache: Cache | None = None,
    copied: Begun | None = None,
) -> tuple[pb.ModelArtifactVersion, bool]:
    """Sends the chunks that the server lacks and commits a version of the files.

    Returns the version, and False where a live version of the name had this
    content already. Calling again with the same `request_id` and content gives
    the same version; after a break only what was not acknowledged is sent. An
    unreachable server is retried for up to 60 s without progress. Memory
    stays below 100 MiB whatever the size of the files.

    With a `cache`, files that have not changed since they were logged are not
    read again unless the server misses them. `copied` is what `begin` returned for
    the files that these are copies of; the cache then remembers those.

    `progress` is notified; by default a bar is shown on a terminal, with `SILENT`
    nothing.

    Errors: errors.Error for a file that changes while it is read or is no
    regular file, OSError, and what the server refuses as errors.CommError.
    """
    allocator.tune()
    display = progress or progress_display.automatic()
    try:
        return upload_engine.run(
            connection,
            header,
            files,
            references,
            display,
            request_id or uuid.uuid4().hex,
            cache.upload_index() if cache else None,
            copied,
        )
    finally:
        display.close()


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
