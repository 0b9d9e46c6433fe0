"""Versions are complete: their entries have the digest, the count and the size of the version."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Table, exists, or_, select

from modelyard_server.db import tables
from modelyard_server.fsck import touched
from modelyard_server.fsck.rows.digests import VersionDigest
from modelyard_server.fsck.scan import Groups, Scan

_V, _VF, _F, _MR, _RF, _R, _S, _U = (
    cast(Table, row.__table__)
    for row in (
        tables.ArtifactVersion, tables.VersionFile, tables.File, tables.ManifestRemoval, tables.RunFile,
        tables.Run, tables.StagedEntry, tables.Upload,
    )
)  # fmt: skip
_VERSIONS = select(
    _V.c.id, _V.c.digest, _V.c.size, _V.c.file_count, _V.c.deleted_at, _V.c.entity_id,
    exists().where(_MR.c.version_id == _V.c.id),
).order_by(_V.c.id)  # fmt: skip
_ENTRIES = (
    select(
        _VF.c.version_id, _VF.c.path, _VF.c.size, _VF.c.uri, _VF.c.tag, _F.c.digest, _F.c.size, _F.c.entity_id
    )
    .outerjoin_from(_VF, _F, _F.c.id == _VF.c.file_id)
    .order_by(_VF.c.version_id, _VF.c.path)
)  # fmt: skip
_RUN_FILES = (
    select(_RF.c.file_id, _R.c.run_id, _RF.c.attempt, _RF.c.path)
    .join_from(_RF, _R, _R.c.id == _RF.c.run_id)
    .join(_F, _F.c.id == _RF.c.file_id)
    .where(or_(_F.c.next_chunk.is_not(None), _F.c.entity_id != _R.c.entity_id))
)
_STAGED = (
    select(_S.c.file_id, _S.c.upload_id, _S.c.path)
    .join_from(_S, _U, _U.c.id == _S.c.upload_id)
    .join(_F, _F.c.id == _S.c.file_id)
    .where(or_(_F.c.next_chunk.is_not(None), _F.c.entity_id != _U.c.entity_id, _F.c.size != _S.c.size))
)
_HALF = (
    select(_VF.c.file_id, _VF.c.version_id, _VF.c.path)
    .join_from(_VF, _F, _F.c.id == _VF.c.file_id)
    .where(_F.c.next_chunk.is_not(None))
)


def check(scan: Scan) -> None:
    """Checks the entries of every version, and the files that runs and staged manifests refer to."""
    entries = Groups(scan.rows(_ENTRIES))
    for version in scan.rows(_VERSIONS, counted=True):
        _check_version(scan, version, entries)
    for file_id, version_id, path in scan.rows(_HALF):
        about = {"version_id": version_id, "path": _text(path), "file_id": file_id}
        what = f"the file {_text(path)!r} is stored in part"
        scan.add("entry_wrong", what, about, touched.by_version(scan.session, version_id))
    for file_id, run_id, attempt, path in scan.rows(_RUN_FILES):
        about = {"run_id": run_id, "attempt": attempt, "path": _text(path), "file_id": file_id}
        what = f"{_text(path)!r} of the run {run_id} is stored in part, or of another entity"
        scan.add("entry_wrong", what, about, touched.by_file(scan.session, file_id))
    for file_id, upload_id, path in scan.rows(_STAGED):
        about = {"upload_id": upload_id, "path": _text(path), "file_id": file_id}
        what = f"{_text(path)!r}, staged for an upload, is stored in part, of another entity or size"
        scan.add("entry_wrong", what, about)


def _check_version(scan: Scan, version: Any, entries: Groups) -> None:
    id_, digest, size, count, deleted_at, entity_id, is_removed = version
    if deleted_at is not None:
        left = sum(1 for _ in entries.take(id_))
        if left and not is_removed:
            scan.add("entries_left", f"{left} entries of a deleted version are left", {"version_id": id_})
        return
    computed = VersionDigest()
    total = found = 0
    wrong = []
    for _, path, own_size, uri, tag, file_digest, file_size, file_entity in entries.take(id_):
        found += 1
        total += own_size or 0
        if uri is not None:
            computed.add_reference(path, uri, tag, own_size)
            continue
        computed.add_file(path, file_digest or b"", own_size or 0)
        if file_digest is not None and (file_size, file_entity) != (own_size, entity_id):
            wrong.append(path)
    problems = [
        what
        for is_wrong, what in (
            (found != count, f"has {found} of {count} entries"),
            (total != size, f"has {total} of {size} bytes"),
            (computed.value != digest, "has entries that do not have its digest"),
            (is_removed, "is marked for the removal of its entries, and is not deleted"),
        )
        if is_wrong
    ]
    if problems:
        what = f"the version {', '.join(problems)}"
        scan.add("version_incomplete", what, {"version_id": id_}, touched.by_version(scan.session, id_))
    for path in wrong[:10]:
        what = f"the file {_text(path)!r} has another size, or is of another entity"
        about = {"version_id": id_, "path": _text(path)}
        scan.add("entry_wrong", what, about, touched.by_version(scan.session, id_))


def _text(path: bytes) -> str:
    return bytes(path).decode(errors="replace")
