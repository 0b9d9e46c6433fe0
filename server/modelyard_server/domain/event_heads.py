"""How far the events of projects go: the number of each project's last event.

Reads columns and makes no rows of the ORM, since watches ask for many projects
often. Only `readable` checks rights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from modelyard_server.db.tables import Entity, Project
from modelyard_server.db.upserts import batches
from modelyard_server.domain.access.authorize import Action, Resource, authorize
from modelyard_server.domain.access.principals import Principal


class Head(NamedTuple):
    """A project and the number of its last event, 0 before the first."""

    id: int
    name: str
    last: int


# Built once: building a statement takes longer than running it.
_IN_ENTITY = Project.entity_id == (
    select(Entity.id).where(Entity.name == bindparam("entity")).scalar_subquery()
)
_HEADS = select(Project.id, Project.name, Project.event_seq).where(_IN_ENTITY)
_ALL = _HEADS.order_by(Project.name)
_NAMED = _HEADS.where(Project.name == bindparam("project"))
_LISTED = _HEADS.where(Project.id.in_(bindparam("ids", expanding=True)))
_TOTAL = select(func.count(Project.id), func.coalesce(func.sum(Project.event_seq), 0)).where(_IN_ENTITY)


def of_entity(session: Session, entity: str) -> list[Head]:
    """The projects of an entity by name; none if there is no such entity."""
    return [Head(*row) for row in session.execute(_ALL, {"entity": entity})]


def of_projects(session: Session, entity: str, project_ids: Collection[int]) -> list[Head]:
    """Those of these projects that are in the entity, in no order."""
    return [
        Head(*row)
        for batch in batches(sorted(project_ids))
        for row in session.execute(_LISTED, {"entity": entity, "ids": batch})
    ]


def named(session: Session, entity: str, project: str) -> Head | None:
    """A project by its name; None if there is none."""
    row = session.execute(_NAMED, {"entity": entity, "project": project}).one_or_none()
    return None if row is None else Head(*row)


def readable(session: Session, principal: Principal, entity: str, heads: Iterable[Head]) -> list[Head]:
    """Those of these projects of an entity that the caller may read."""
    return [head for head in heads if authorize(session, principal, Action.READ, Resource(entity, head.name))]


def total(session: Session, entity: str) -> tuple[int, int]:
    """The number of an entity's projects, and of their events. Both only grow."""
    projects, found = session.execute(_TOTAL, {"entity": entity}).one()
    return projects, int(found)


def entities(session: Session, project_ids: Collection[int]) -> dict[int, str]:
    """The name of the entity of each project. A project never moves to another one."""
    found: dict[int, str] = {}
    for batch in batches(sorted(project_ids)):
        of_batch = select(Project.id, Entity.name).join(Entity, Entity.id == Project.entity_id)
        found |= dict(session.execute(of_batch.where(Project.id.in_(batch))).all())
    return found


def last_sequences(session: Session, project_ids: Collection[int]) -> dict[int, int]:
    """The number of each project's last event; 0 before the first."""
    found: dict[int, int] = {}
    for batch in batches(sorted(project_ids)):
        rows = session.execute(select(Project.id, Project.event_seq).where(Project.id.in_(batch)))
        found |= dict(rows.all())
    return found
