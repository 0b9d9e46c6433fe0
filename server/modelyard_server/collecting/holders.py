"""Who needs the bytes of versions, and what deleting them would free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Subquery, func, select, union
from sqlalchemy.orm import Session

from modelyard.contract import refs
from modelyard_server.collecting import needed
from modelyard_server.db import tables
from modelyard_server.db.engine import now
from modelyard_server.db.tables import (
    Alias,
    ArtifactVersion,
    Collection,
    Entity,
    FileChunk,
    Link,
    Pin,
    Project,
    Run,
    RunFile,
    Upload,
    VersionFile,
)
from modelyard_server.domain import fields
from modelyard_server.domain.access.principals import SERVER
from modelyard_server.domain.registry import resolve
from modelyard_server.domain.registry.full_names import full_name_of, full_names

MOST = 20
"""Holders that are named, those of the most bytes."""
_Chunk = tables.Chunk


class Holder(NamedTuple):
    """Something that needs some of the same bytes."""

    what: str
    size: int


@dataclass(frozen=True)
class Explanation:
    """What versions hold: `size` bytes of distinct chunks, of which nothing else needs `alone`.

    `holders` are the others, those of the most bytes first, at most 20. `refusing` are the
    aliases and links for which a delete without force is refused.
    """

    name: str
    versions: int
    size: int
    alone: int
    holders: Sequence[Holder]
    refusing: Sequence[str]


def explain(session: Session, ref: str) -> Explanation:
    """Explains a version; a ref without alias and number is one of an artifact with all versions.

    Raises NotFound, InvalidField.
    """
    name, which = _versions(session, ref)
    own = _chunks_of(which).subquery()
    others = {kind: pairs.distinct().subquery() for kind, pairs in _others(session, which, own).items()}
    count = session.scalar(select(func.count()).select_from(ArtifactVersion).where(which)) or 0
    size = _size(session, select(own.c.chunk_id))
    shared = _size(session, union(*(select(pairs.c.chunk_id) for pairs in others.values())))
    holders = [
        Holder(_name(session, kind, key), int(held))
        for kind, pairs in others.items()
        for key, held in session.execute(
            select(pairs.c.holder, func.sum(_Chunk.size))
            .join(_Chunk, _Chunk.id == pairs.c.chunk_id)
            .group_by(pairs.c.holder)
            .order_by(func.sum(_Chunk.size).desc())
            .limit(MOST)
        )
    ]
    holders.sort(key=lambda holder: -holder.size)
    refusing = _refusing(session, which, is_artifact=":" not in name)
    return Explanation(name, count, size, size - shared, holders[:MOST], refusing)


def _versions(session: Session, ref: str) -> tuple[str, ColumnElement[bool]]:
    """The name of what a ref stands for, and the condition for its versions."""
    parsed = fields.check("ref", refs.parse, ref)
    if parsed.alias:
        view = resolve.version(session, SERVER, ref=ref).view
        return view.full_name.ref(view.version.number), ArtifactVersion.id == view.version.id
    artifact = resolve.collection(session, SERVER, "artifact", ref=ref)
    of_artifact = (ArtifactVersion.collection_id == artifact.id) & needed.version(now(session))
    return full_name_of(session, artifact).path, of_artifact


def _chunks_of(which: ColumnElement[bool], *columns: Any) -> Select[Any]:
    """The chunks of versions, each once, with columns of the versions."""
    return (
        select(FileChunk.chunk_id, *columns)
        .join(VersionFile, VersionFile.file_id == FileChunk.file_id)
        .join(ArtifactVersion, ArtifactVersion.id == VersionFile.version_id)
        .where(which)
        .distinct()
    )


def _others(session: Session, which: ColumnElement[bool], own: Subquery) -> dict[str, Select[Any]]:
    """Pairs of the own chunks and who else needs them, by kind."""
    time = now(session)
    of_versions = _chunks_of(~which & needed.version(time), ArtifactVersion.id.label("holder")).where(
        FileChunk.chunk_id.in_(select(own.c.chunk_id))
    )
    of_runs = (
        select(FileChunk.chunk_id, RunFile.run_id.label("holder"))
        .join(RunFile, RunFile.file_id == FileChunk.file_id)
        .join(Run, Run.id == RunFile.run_id)
        .where(FileChunk.chunk_id.in_(select(own.c.chunk_id)), Run.deleted_at.is_(None))
    )
    of_uploads = (
        select(Pin.chunk_id, Pin.upload_id.label("holder"))
        .join(Upload, Upload.id == Pin.upload_id)
        .where(Pin.chunk_id.in_(select(own.c.chunk_id)), Upload.expires_at > time)
    )
    return {"version": of_versions, "run": of_runs, "upload": of_uploads}


def _size(session: Session, chunks: Any) -> int:
    return int(session.scalar(select(func.sum(_Chunk.size)).where(_Chunk.id.in_(chunks))) or 0)


def _name(session: Session, kind: str, key: str) -> str:
    if kind == "version":
        version = session.get_one(ArtifactVersion, key)
        return full_names(session, [version.collection_id])[version.collection_id].ref(version.number)
    if kind == "run":
        run = session.get_one(Run, key)
        owner = session.execute(
            select(Entity.name, Project.name)
            .join(Project, Project.entity_id == Entity.id)
            .where(Project.id == run.project_id)
        ).one()
        return f"files of the run {owner[0]}/{owner[1]}/{run.run_id}"
    until = datetime.fromtimestamp(session.get_one(Upload, key).expires_at / 1e6, UTC)
    return f"upload {key}, open until {until:%Y-%m-%d %H:%M} UTC"


def _refusing(session: Session, which: ColumnElement[bool], *, is_artifact: bool) -> list[str]:
    ids = select(ArtifactVersion.id).where(which)
    named = select(Alias.alias).where(Alias.version_id.in_(ids)).order_by(Alias.alias)
    if is_artifact:  # whose deletion takes `latest` along
        named = named.where(Alias.alias != refs.LATEST)
    aliases = session.scalars(named)
    links = session.execute(
        select(Collection, Link.number)
        .join(Link, Link.collection_id == Collection.id)
        .where(Link.version_id.in_(ids), Link.deleted_at.is_(None))
        .order_by(Link.id)
    ).all()
    return [
        *(f"alias {alias}" for alias in aliases),
        *(f"link {full_name_of(session, model).ref(number)}" for model, number in links),
    ]
