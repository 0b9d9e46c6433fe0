"""Which versions and files of runs a damage touches."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import ColumnElement, Table, distinct, func, select
from sqlalchemy.orm import Session

from modelyard_server.db import tables
from modelyard_server.fsck.findings import RunFileName, Touched, VersionName

SHOWN = 100
_V, _C, _P, _E, _VF, _FC, _K, _R, _RF = (
    cast(Table, row.__table__)
    for row in (
        tables.ArtifactVersion, tables.Collection, tables.Project, tables.Entity, tables.VersionFile,
        tables.FileChunk, tables.Chunk, tables.Run, tables.RunFile,
    )
)  # fmt: skip


def by_chunks(session: Session, *which: ColumnElement[bool]) -> Touched:
    """Whose files have one of these chunks; the conditions are on `chunk`."""
    files = select(_FC.c.file_id).join(_K, _K.c.id == _FC.c.chunk_id).where(*which)
    return _touched(session, _VF.c.file_id.in_(files), _RF.c.file_id.in_(files))


def by_file(session: Session, file_id: int) -> Touched:
    """Whose file it is."""
    return _touched(session, _VF.c.file_id == file_id, _RF.c.file_id == file_id)


def by_version(session: Session, version_id: str) -> Touched:
    """The version itself."""
    found = _versions(session, _V.c.id == version_id)
    return Touched(found, len(found))


def _touched(session: Session, entries: Any, run_files: Any) -> Touched:
    own = select(_VF.c.version_id).where(entries)
    live = (_V.c.deleted_at.is_(None), _V.c.id.in_(own))
    versions = _versions(session, *live)
    files = [
        RunFileName(f"{entity}/{project}/{run}", attempt, bytes(path).decode(errors="replace"))
        for entity, project, run, attempt, path in session.execute(
            select(_E.c.name, _P.c.name, _R.c.run_id, _RF.c.attempt, _RF.c.path)
            .join_from(_RF, _R, _R.c.id == _RF.c.run_id)
            .join(_P, _P.c.id == _R.c.project_id)
            .join(_E, _E.c.id == _P.c.entity_id)
            .where(run_files)
            .limit(SHOWN)
        )
    ]
    return Touched(
        versions,
        _count(session, len(versions), select(func.count(distinct(_V.c.id))).where(*live)),
        files,
        _count(session, len(files), select(func.count()).select_from(_RF).where(run_files)),
    )


def _versions(session: Session, *which: ColumnElement[bool]) -> list[VersionName]:
    rows = session.execute(
        select(_V.c.id, _E.c.name, _P.c.name, _C.c.name, _V.c.number)
        .join_from(_V, _C, _C.c.id == _V.c.collection_id)
        .join(_P, _P.c.id == _C.c.project_id)
        .join(_E, _E.c.id == _P.c.entity_id)
        .where(*which)
        .order_by(_C.c.name, _V.c.number)
        .limit(SHOWN)
    )
    return [
        VersionName(id_, f"{entity}/{project}/{name}:v{number}")
        for id_, entity, project, name, number in rows
    ]


def _count(session: Session, shown: int, counting: Any) -> int:
    return shown if shown < SHOWN else int(session.execute(counting).scalar_one())
