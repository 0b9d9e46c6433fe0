"""Marks: what a store keeps of the numbers that were given out, in case its database is lost.

A mark says how far the events of a project and the numbers of its collections had come.
It is written after the state that it describes was committed, under a key that ends in
the number of the project's last event. So a store with a mark beyond the events of a
database shows that the database is older than the store: it was restored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from sqlalchemy import Table, func, select
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db.tables import Collection, Entity, NumberMark, Project
from modelyard_server.db.upserts import insert
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import SERVER
from modelyard_server.domain.registry import collections

_C, _P, _E, _M = (cast(Table, row.__table__) for row in (Collection, Project, Entity, NumberMark))


class RestoreNeeded(errors.StoreUnavailable):
    """The database is older than its store."""


class Position(NamedTuple):
    """How far a mark goes: the project, and the number of its last event."""

    project_id: int
    last_event: int


@dataclass(frozen=True)
class Mark:
    """The numbers that the collections of a project give out next; by name, with kind and type."""

    position: Position
    entity: str
    project: str
    numbers: Mapping[str, tuple[str, str, int]]

    def encode(self) -> bytes:
        """The mark as it is stored."""
        return json.dumps({"entity": self.entity, "project": self.project, "numbers": self.numbers}).encode()


def decode(position: Position, data: bytes) -> Mark:
    """A stored mark. Raises ValueError, KeyError, TypeError."""
    found = json.loads(data)
    numbers = {
        str(name): (str(kind), str(type_), int(number))
        for name, (kind, type_, number) in found["numbers"].items()
    }
    return Mark(position, str(found["entity"]), str(found["project"]), numbers)


class Due(NamedTuple):
    """A project whose events went on since its last mark; 0 if it has none."""

    project_id: int
    last_marked: int


def due(session: Session, limit: int) -> list[Due]:
    """Projects whose events went on since their last mark."""
    behind = (
        select(_P.c.id, func.coalesce(_M.c.last_event, 0))
        .outerjoin_from(_P, _M, _M.c.project_id == _P.c.id)
        .where(_P.c.event_seq > func.coalesce(_M.c.last_event, 0))
        .order_by(_P.c.id)
        .limit(limit)
    )
    return [Due(*row) for row in session.execute(behind)]


def make(session: Session, project_id: int) -> Mark:
    """The mark of a project as it is now; begin the transaction by it."""
    head = select(_P.c.event_seq, _P.c.name, _E.c.name).join_from(_P, _E, _E.c.id == _P.c.entity_id)
    last_event, project, entity = session.execute(head.where(_P.c.id == project_id)).one()
    rows = select(_C.c.name, _C.c.kind, _C.c.type, _C.c.next_version).where(_C.c.project_id == project_id)
    numbers = {name: (kind, type_, number) for name, kind, type_, number in session.execute(rows)}
    return Mark(Position(project_id, last_event), entity, project, numbers)


def written(session: Session, position: Position) -> None:
    """Records that the store has a mark."""
    adding: Any = insert(session, NumberMark)
    newer = adding.excluded.last_event
    session.execute(
        adding.on_conflict_do_update(
            index_elements=["project_id"], set_={"last_event": newer}, where=_M.c.last_event < newer
        ),
        [position._asdict()],
    )


def beyond(session: Session, marks: Iterable[Position]) -> list[Position]:
    """The marks that go beyond the events of this database. List them before this transaction begins."""
    rows = session.execute(select(_P.c.id, _P.c.event_seq))
    heads: dict[int, int] = {row.id: row.event_seq for row in rows}
    return [mark for mark in marks if mark.last_event > heads.get(mark.project_id, 0)]


def require_newest(session: Session, marks: Iterable[Position]) -> None:
    """Raises RestoreNeeded if the store knows of events that this database lacks; see `beyond`."""
    if lacking := beyond(session, marks):
        raise RestoreNeeded(
            f"the store knows of newer events in {len(lacking)} projects: the database was restored from a "
            "backup, and would give out numbers again that were given out. Run `modelyard server restore`"
        )


def raise_beyond(session: Session, mark: Mark, margin: int) -> None:
    """Raises the counters of a project beyond those of a mark, by a margin.

    Names that this database does not know become deleted collections, so that logging
    them again goes on with their numbers.
    """
    project = owners.ensure_project(session, SERVER, mark.entity, mark.project)
    for name, (kind, type_, number) in sorted(mark.numbers.items()):
        row = collections.lock_name(session, project.id, name)
        if row is None:
            row = collections.new(session, SERVER, project, cast(collections.Kind, kind), name, type_)
            collections.mark_deleted(session, SERVER, row)
        collections.raise_number(row, number + margin)
    session.flush()


def all_projects(session: Session) -> list[int]:
    """The ids of all projects."""
    return list(session.scalars(select(_P.c.id).order_by(_P.c.id)))
