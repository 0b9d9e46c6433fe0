"""What is needed, as conditions: what will be left once everything that may be deleted is.

The collector decides step by step, each of which sees what the one before has deleted.
These conditions look ahead: uploads that have expired, and versions and runs that were
deleted, hold nothing.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, exists, or_

from modelyard_server.db import tables
from modelyard_server.db.tables import (
    ArtifactVersion,
    File,
    FileChunk,
    Pin,
    Run,
    RunFile,
    StagedEntry,
    Upload,
    VersionFile,
)


def version(time: int) -> ColumnElement[bool]:
    """Whether a version is neither deleted nor expired."""
    return ArtifactVersion.deleted_at.is_(None) & or_(
        ArtifactVersion.expires_at.is_(None), ArtifactVersion.expires_at > time
    )


def file(time: int) -> ColumnElement[bool]:
    """Whether a file is needed by a version, a run or an open upload that stores it."""
    of_version = exists().where(
        VersionFile.file_id == File.id, ArtifactVersion.id == VersionFile.version_id, version(time)
    )
    of_run = exists().where(RunFile.file_id == File.id, Run.id == RunFile.run_id, Run.deleted_at.is_(None))
    staged = exists().where(
        StagedEntry.file_id == File.id, Upload.id == StagedEntry.upload_id, Upload.expires_at > time
    )
    being_stored = File.next_chunk.is_not(None) & exists().where(
        FileChunk.file_id == File.id,
        FileChunk.idx == 0,
        Pin.chunk_id == FileChunk.chunk_id,
        Upload.id == Pin.upload_id,
        Upload.expires_at > time,
    )
    return or_(of_version, of_run, staged, being_stored)


def chunk(time: int) -> ColumnElement[bool]:
    """Whether a chunk is needed by a file or an upload."""
    pinned = exists().where(
        Pin.chunk_id == tables.Chunk.id, Upload.id == Pin.upload_id, Upload.expires_at > time
    )
    in_file = exists().where(FileChunk.chunk_id == tables.Chunk.id, File.id == FileChunk.file_id, file(time))
    return or_(pinned, in_file)
