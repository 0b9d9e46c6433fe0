"""How many bytes entities, projects and artifacts hold in the store, and how many of them alone.

A chunk is stored once in an entity, whoever needs it. So what an artifact holds and what
its deletion frees are two numbers; the difference is shared with others.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, String, case, cast, func, literal, select, union
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelyard_server.collecting import needed
from modelyard_server.db import tables
from modelyard_server.db.engine import now
from modelyard_server.db.tables import (
    ArtifactVersion,
    Collection,
    Entity,
    FileChunk,
    Pack,
    Project,
    Run,
    RunFile,
    VersionFile,
)

_Chunk = tables.Chunk
_Owner: TypeAlias = ColumnElement[Any] | InstrumentedAttribute[Any]


class Held(NamedTuple):
    """What an owner holds.

    `held` are the bytes of its distinct chunks, `alone` those that nobody else needs: what
    deleting it would free once open uploads have ended. `versions` counts its versions.
    """

    name: str
    versions: int
    held: int
    alone: int

    @property
    def shared(self) -> int:
        """The bytes that others need, too."""
        return self.held - self.alone


class InStore(NamedTuple):
    """Bytes of the packs of an entity: all of them, those that are needed, and those in the trash."""

    name: str
    stored: int
    needed: int
    trash: int

    @property
    def dead(self) -> int:
        """Bytes in packs that are not trash, which nothing needs."""
        return self.stored - self.needed - self.trash


def entities(session: Session) -> list[InStore]:
    """What the store holds of each entity, by name. Packs that are being written do not count."""
    in_trash = func.sum(case((Pack.state == "trash", Pack.size), else_=0))
    packs: dict[int, tuple[int, int]] = {
        id_: (int(stored), int(trash))
        for id_, stored, trash in session.execute(
            select(Pack.entity_id, func.sum(Pack.size), in_trash)
            .where(Pack.state.in_(("live", "trash")))
            .group_by(Pack.entity_id)
        )
    }
    kept: dict[int, int] = {
        id_: int(size)
        for id_, size in session.execute(
            select(_Chunk.entity_id, func.sum(_Chunk.size))
            .where(needed.chunk(now(session)))
            .group_by(_Chunk.entity_id)
        )
    }
    found = []
    for id_, name in session.execute(select(Entity.id, Entity.name).order_by(Entity.name)):
        stored, trash = packs.get(id_, (0, 0))
        found.append(InStore(name, stored, kept.get(id_, 0), trash))
    return found


def projects(session: Session, entity: Entity) -> list[Held]:
    """What each project of an entity holds, by name."""
    sums = _sums(session, entity.id, ArtifactVersion.project_id, Run.project_id)
    counts = _versions(session, entity.id, ArtifactVersion.project_id)
    rows = select(Project.id, Project.name).where(Project.entity_id == entity.id).order_by(Project.name)
    return [
        Held(name, counts.get(str(id_), 0), *sums.get(str(id_), (0, 0)))
        for id_, name in session.execute(rows)
    ]


def artifacts(session: Session, project: Project) -> list[Held]:
    """What each artifact of a project holds, by name; last, if there are any, the files of its runs."""
    runs = literal("runs of ") + cast(Run.project_id, String)
    sums = _sums(session, project.entity_id, ArtifactVersion.collection_id, runs)
    counts = _versions(session, project.entity_id, ArtifactVersion.collection_id)
    rows = select(Collection.id, Collection.name).where(
        Collection.project_id == project.id, Collection.kind == "artifact", Collection.deleted_at.is_(None)
    )
    found = [
        Held(name, counts.get(_plain(id_), 0), *sums.get(_plain(id_), (0, 0)))
        for id_, name in session.execute(rows.order_by(Collection.name))
    ]
    of_runs = sums.get(f"runs of {project.id}")
    return [*found, Held("(files of runs)", 0, *of_runs)] if of_runs else found


def _sums(session: Session, entity_id: int, of_version: _Owner, of_run: _Owner) -> dict[str, tuple[int, int]]:
    """Bytes held and held alone by owner, as text; owners are columns of versions and runs."""
    in_versions = (
        select(cast(of_version, String).label("owner"), FileChunk.chunk_id)
        .join(VersionFile, VersionFile.version_id == ArtifactVersion.id)
        .join(FileChunk, FileChunk.file_id == VersionFile.file_id)
        .where(ArtifactVersion.entity_id == entity_id, needed.version(now(session)))
    )
    in_runs = (
        select(cast(of_run, String).label("owner"), FileChunk.chunk_id)
        .join(RunFile, RunFile.run_id == Run.id)
        .join(FileChunk, FileChunk.file_id == RunFile.file_id)
        .where(Run.entity_id == entity_id, Run.deleted_at.is_(None))
    )
    pairs = union(in_versions, in_runs).subquery()
    counted = select(
        pairs.c.owner, pairs.c.chunk_id, func.count().over(partition_by=pairs.c.chunk_id).label("owners")
    ).subquery()
    rows = session.execute(
        select(
            counted.c.owner,
            func.sum(_Chunk.size),
            func.sum(case((counted.c.owners == 1, _Chunk.size), else_=0)),
        )
        .join(_Chunk, _Chunk.id == counted.c.chunk_id)
        .group_by(counted.c.owner)
    )
    return {_plain(owner): (int(held), int(alone)) for owner, held, alone in rows}


def _versions(session: Session, entity_id: int, owner: _Owner) -> dict[str, int]:
    rows = session.execute(
        select(cast(owner, String), func.count())
        .where(ArtifactVersion.entity_id == entity_id, needed.version(now(session)))
        .group_by(owner)
    )
    return {_plain(owner): count for owner, count in rows}


def _plain(owner: str) -> str:
    """An id as text without hyphens, which SQLite does not store."""
    return owner.replace("-", "")
