"""The full names of artifacts and registered models: entity, project, name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from modelyard_server.db.tables import Collection, Entity, Project
from modelyard_server.db.upserts import batches
from modelyard_server.domain.access.authorize import Resource


class FullName(NamedTuple):
    """The names and keys of a collection. Entities, projects and artifacts are never renamed."""

    entity: str
    project: str
    name: str
    type: str
    project_id: int
    collection_id: str

    @property
    def path(self) -> str:
        """`entity/project/name`."""
        return f"{self.entity}/{self.project}/{self.name}"

    @property
    def resource(self) -> Resource:
        """The project that it is in."""
        return Resource(self.entity, self.project)

    def ref(self, number: int) -> str:
        """`entity/project/name:vN`."""
        return f"{self.path}:v{number}"


COLUMNS = (Entity.name, Project.name, Collection.name, Collection.type, Project.id, Collection.id)
# Built once: building a statement takes longer than executing it.
_FULL_NAMES = (
    select(*COLUMNS)
    .select_from(Collection)
    .join(Project, Project.id == Collection.project_id)
    .join(Entity, Entity.id == Project.entity_id)
    .where(Collection.id.in_(bindparam("ids", expanding=True)))
)


def full_names(session: Session, collection_ids: Iterable[str]) -> dict[str, FullName]:
    """The full names of collections by id, deleted ones included."""
    found: dict[str, FullName] = {}
    for batch in batches(sorted(set(collection_ids))):
        found |= {row[-1]: FullName(*row) for row in session.execute(_FULL_NAMES, {"ids": batch})}
    return found


def full_name_of(session: Session, collection: Collection) -> FullName:
    """The full name of one collection."""
    return full_names(session, [collection.id])[collection.id]
