"""The scope of a list: a project, or a whole entity."""

from __future__ import annotations

from collections.abc import Sequence
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
"""The id used for an entity that does not exist yet; no row has it."""


class Scope(NamedTuple):
    """The scope of a query.

    `readable` has the ids of the entities in which the caller may read, also beyond the
    scope; None for all.
    """

    entity_id: int
    project_id: int | None
    readable: Sequence[int] | None

    def holds(self, table: Any, *, by_index: bool = True) -> ColumnElement[bool]:
        """The condition that a row with owner columns is in the scope.

        Without `by_index` the condition is written so that no index serves it: for a few
        known rows the databases might otherwise scan all rows of the scope.
        """
        column, wanted = (
            (table.entity_id, self.entity_id)
            if self.project_id is None
            else (table.project_id, self.project_id)
        )
        return (column if by_index else column + 0) == wanted  # type: ignore[no-any-return]  # of any table

    def holds_project(self, column: Any) -> ColumnElement[bool]:
        """The condition that a row with a project column only is in the scope."""
        if self.project_id is not None:
            return column == self.project_id  # type: ignore[no-any-return]  # a column of any table
        inside: ColumnElement[bool] = column.in_(
            select(Project.id).where(Project.entity_id == self.entity_id)
        )
        return inside

    def sees(self, entity_id: Any) -> ColumnElement[bool]:
        """The condition that the caller may see a row of this entity, which a row in the scope refers to."""
        return true() if self.readable is None else entity_id.in_(self.readable)

    def sees_attribute(self) -> ColumnElement[bool]:
        """As `sees`, for entries of the search index, which are sorted by entity."""
        return Attribute.entity_id.in_(select(Entity.id) if self.readable is None else self.readable)


def of_list(
    session: Session, principal: Principal, collection: Collection | None, entity: str, project: str
) -> Scope:
    """The scope of a list of what is in a collection, else a project, else an entity. Raises NotFound."""
    if collection is None:
        return of_names(session, principal, entity, project)
    of_project = select(Entity.id, Entity.name).join(Project).where(Project.id == collection.project_id)
    entity_id, name = session.execute(of_project).one()
    return Scope(entity_id, collection.project_id, _readable(session, principal, name, entity_id))


def of_names(session: Session, principal: Principal, entity: str, project: str) -> Scope:
    """A project, or a whole entity if none is given. Raises NotFound.

    The caller's own entity may not exist yet; it is empty then.
    """
    if project:
        place = owners.find_project(session, principal, entity, project)
        return Scope(place.entity_id, place.id, _readable(session, principal, entity, place.entity_id))
    try:
        entity_id = owners.find_entity(session, principal, entity).id
    except errors.NotFound:
        if entity not in ("", principal.entity):
            raise
        entity_id = NOWHERE
    return Scope(entity_id, None, _readable(session, principal, entity, entity_id))


def _readable(session: Session, principal: Principal, entity: str, entity_id: int) -> list[int] | None:
    """The ids of the entities in which the caller may read; None for all. The named one has `entity_id`."""
    names = reach(principal)
    if names is None:
        return None
    entity = entity or principal.entity
    found = [entity_id] if entity in names else []
    if others := names - {entity}:
        found += session.scalars(select(Entity.id).where(Entity.name.in_(sorted(others))))
    return found
