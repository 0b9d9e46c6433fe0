"""Stores files and entries of large manifests in short transactions, ahead of the commit's own.

SQLite has one writer, so a single transaction for millions of chunks would hold up
every other write. Files are identified by content and stored once; nothing refers
to them yet. The entries are stored as `staged_entry`, whose foreign keys keep the
files while the upload is open. The commit's transaction then copies those rows into
the version. The staged entries of a failed commit are deleted by the next commit of
its upload, or with the upload.

A file with more chunks than one transaction stores is not found by its digest until
its last chunk has a row: `file.next_chunk` is the next one to store. It is changed
under a lock of the file's row, together with the rows of the chunks, so that a
transaction that stores the same content, concurrently or after a crash, continues
after the existing rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, TypeAlias, cast

from sqlalchemy import Table, bindparam, delete, insert, literal, select
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db import upserts
from modelyard_server.db.bounded import ROWS, delete_some
from modelyard_server.db.tables import ArtifactVersion, File, FileChunk, StagedEntry, Upload, VersionFile
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content import file_ranges, manifest_rows, uploads
from modelyard_server.domain.content.manifests import KeptFile, Manifest, ManifestFile, ManifestReference

Entry: TypeAlias = ManifestFile | KeptFile | ManifestReference

_F, _S, _V = (cast(Table, row.__table__) for row in (File, StagedEntry, VersionFile))
_FILE = (
    select(_F.c.id, _F.c.next_chunk, _F.c.sha256.is_(None))
    .where(_F.c.entity_id == bindparam("entity"), _F.c.digest == bindparam("digest"))
    .with_for_update(key_share=True)
)
_LAST = select(FileChunk.start).where(
    FileChunk.file_id == bindparam("of"), FileChunk.idx == bindparam("index")
)
_GO_ON = _F.update().where(_F.c.id == bindparam("of")).values(next_chunk=bindparam("next"))
_STAGE = _S.insert()
_STAGED = (_S.c.upload_id == bindparam("upload"), _S.c.commit_id == bindparam("commit"))
_ENTRIES = [_S.c[name] for name in manifest_rows.ENTRY_COLUMNS]


def is_large(manifest: Manifest) -> bool:
    """Whether a manifest is too large for one transaction."""
    return manifest.chunk_count + len(manifest) > ROWS


def parts(manifest: Manifest) -> Iterator[list[Entry]]:
    """The entries in parts for `store`: a large file alone, else as many as fit one transaction.

    Files come in the order of their digests, in which they are locked.
    """
    part: list[Entry] = []
    cost = 0
    files = sorted(manifest.files.values(), key=lambda file: file.digest)
    entries: Iterator[Entry] = chain(files, manifest.kept.values(), manifest.references.values())
    for entry in entries:
        rows = 1 + (len(entry.sizes) if isinstance(entry, ManifestFile) else 0)
        if part and cost + rows > ROWS:
            yield part
            part, cost = [], 0
        part.append(entry)
        cost += rows
    if part:
        yield part


def store(
    session: Session,
    principal: Principal,
    upload_id: str,
    commit_id: str,
    part: Sequence[Entry],
    base_id: str,
) -> bool:
    """Stores a part, or the next rows of it; returns whether all of it is stored.

    `base_id` is the version of kept files. Raises UploadExpired, ChunksMissing,
    InvalidField, and NotFound if the base was deleted.
    """
    upload = uploads.hold(session, principal, upload_id)
    uploads.prolong(session, upload)
    if any(isinstance(entry, KeptFile) for entry in part):
        manifest_rows.hold_base(session, base_id)
    new_files = [entry for entry in part if isinstance(entry, ManifestFile)]
    if len(new_files) == 1 and len(new_files[0].sizes) >= ROWS:
        whole = _advance(session, upload, new_files[0])
        file_ids = {new_files[0].digest: whole} if whole is not None else {}
        if whole is None:
            return False
    else:
        file_ids = manifest_rows.store_files(session, upload, new_files) if new_files else {}
    rows = [{"upload_id": upload.id, "commit_id": commit_id, **_row(entry, file_ids)} for entry in part]
    session.execute(_STAGE, rows)
    return True


def take(session: Session, upload_id: str, commit_id: str, version: ArtifactVersion, count: int) -> None:
    """Copies the staged entries of a commit into its version. Raises RetryTransaction if some are gone."""
    waiting = select(literal(version.id, _V.c.version_id.type), *_ENTRIES).where(*_STAGED)
    adding = insert(_V).from_select(["version_id", *manifest_rows.ENTRY_COLUMNS], waiting)
    taken = session.connection().execute(
        adding,
        {"upload": upload_id, "commit": commit_id},
        execution_options={"preserve_rowcount": True},
    )
    if taken.rowcount != count:
        raise errors.RetryTransaction("the staged entries were deleted with the upload; repeat the call")


def take_files(session: Session, upload_id: str, commit_id: str, count: int) -> dict[str, int]:
    """The ids of the staged files of a commit by path; they are no longer staged.

    Raises RetryTransaction if some are gone.
    """
    taken = delete(StagedEntry).where(*_STAGED).returning(StagedEntry.path, StagedEntry.file_id)
    found = session.execute(
        taken,
        {"upload": upload_id, "commit": commit_id},
        execution_options={"synchronize_session": False},
    ).all()
    if len(found) != count:
        raise errors.RetryTransaction("the staged entries were deleted with the upload; repeat the call")
    return {path.decode(): file_id for path, file_id in found if file_id is not None}


def clear(session: Session, principal: Principal, upload_id: str) -> bool:
    """Deletes staged entries of earlier commits, in batches; returns whether none is left.

    Raises UploadExpired.
    """
    upload = uploads.hold(session, principal, upload_id)
    return delete_some(session, StagedEntry, StagedEntry.upload_id == upload.id) < ROWS


def _row(entry: Entry, file_ids: dict[bytes, int]) -> dict[str, Any]:
    if isinstance(entry, ManifestReference):
        return manifest_rows.row_of_reference(entry)
    if isinstance(entry, KeptFile):
        assert entry.file_id is not None
        return manifest_rows.row_of_file(entry, entry.file_id)
    return manifest_rows.row_of_file(entry, file_ids[entry.digest])


def _advance(session: Session, upload: Upload, file: ManifestFile) -> int | None:
    """Stores the next chunks of a large file; returns its id once it is complete."""
    named = {"entity": upload.entity_id, "digest": file.digest}
    found = session.execute(_FILE, named).one_or_none()
    if found is None:
        row = manifest_rows.file_row(upload, file) | {"next_chunk": 0}
        upserts.insert_missing(session, File, [row])
        found = session.execute(_FILE, named).one()
    file_id, first, lacks_sha256 = found
    if lacks_sha256 and file.whole_sha256 is not None:
        file_ranges.remember_sha256s(session, [(file_id, file.digest, file.whole_sha256)])
    if first is None:
        _require_whole(session, file_id)
        return int(file_id)
    end = min(first + ROWS, len(file.sizes))
    stored = manifest_rows.require_held(session, upload, [(file, file.chunks(first, end))])
    start = 0
    if first:
        start = (
            session.execute(_LAST, {"of": file_id, "index": first - 1}).scalar_one() + file.sizes[first - 1]
        )
    rows = manifest_rows.chunk_rows_of(file_id, file, stored, first, end, start)
    session.execute(manifest_rows.ADD_CHUNKS, list(rows))
    whole = end == len(file.sizes)
    session.execute(_GO_ON, {"of": file_id, "next": None if whole else end})
    if whole:
        _require_whole(session, file_id)  # chunks that an earlier call stored may be damaged by now
    return int(file_id) if whole else None


def _require_whole(session: Session, file_id: int) -> None:
    if manifest_rows.are_damaged(session, [file_id]):
        raise errors.ChunksMissing("some of the chunks are damaged; ask FindMissingChunks and send them")
