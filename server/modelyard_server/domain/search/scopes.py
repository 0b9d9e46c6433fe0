"""What a list is over: a project, or a whole entity."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db.attributes import Attribute
from modelyard_server.db.tables import Collection, Entity, Project
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import reach
from modelyard_server.domain.access.principals import Principal

NOWHERE = 0
"""The entity of a caller who has not written anything yet: no row has this id."""


class Scope(NamedTuple):
    """Where a caller looks. `everywhere`: they may enter every entity, and so see what lies beyond."""

    entity_id: int
    project_id: int | None
    everywhere: bool

    def holds(self, table: Any, *, by_index: bool = True) -> ColumnElement[bool]:
        """Whether a row that carries its owners is inside.

        Without `by_index` no index may serve the condition: for a few rows that are
        known, the databases would else be tempted to walk all the others.
        """
        column, wanted = (
            (table.entity_id, self.entity_id)
            if self.project_id is None
            else (table.project_id, self.project_id)
        )
        return (column if by_index else column + 0) == wanted  # type: ignore[no-any-return]  # of any table

    def holds_project(self, column: Any) -> ColumnElement[bool]:
        """Whether a row is inside that carries only its project."""
        if self.project_id is not None:
            return column == self.project_id  # type: ignore[no-any-return]  # a column of any table
        inside: ColumnElement[bool] = column.in_(
            select(Project.id).where(Project.entity_id == self.entity_id)
        )
        return inside

    def sees(self, entity_id: Any) -> ColumnElement[bool]:
        """Whether the caller may look at a row of this entity, which a row inside points at."""
        return true() if self.everywhere else entity_id == self.entity_id

    def sees_attribute(self) -> ColumnElement[bool]:
        """As `sees` for the index, which begins with the entity."""
        visible = select(Entity.id) if self.everywhere else [self.entity_id]
        return Attribute.entity_id.in_(visible)


def of_names(session: Session, principal: Principal, entity: str, project: str) -> Scope:
    """A project, or a whole entity when none is named.

    The caller's own entity may not exist yet, and holds nothing then. Raises NotFound.
    """
    if project:
        place = owners.find_project(session, principal, entity, project)
        return Scope(place.entity_id, place.id, reach(principal) is None)
    try:
        entity_id = owners.find_entity(session, principal, entity).id
    except errors.NotFound:
        if entity not in ("", principal.entity):
            raise
        entity_id = NOWHERE
    return Scope(entity_id, None, reach(principal) is None)


def of_collection(session: Session, principal: Principal, row: Collection) -> Scope:
    """The project that a collection is in."""
    project = session.get_one(Project, row.project_id)
    return Scope(project.entity_id, project.id, reach(principal) is None)
