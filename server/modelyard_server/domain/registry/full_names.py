"""Where collections lie: the names that make up a full reference."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from modelyard_server.db.tables import Collection, Entity, Project
from modelyard_server.db.upserts import batches


class Home(NamedTuple):
    """A collection by its names. Those of entities, projects and artifacts never change."""

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

    def ref(self, number: int) -> str:
        """`entity/project/name:vN`."""
        return f"{self.path}:v{number}"


COLUMNS = (Entity.name, Project.name, Collection.name, Collection.type, Project.id, Collection.id)
# Built once: making a statement takes longer than running it.
_HOMES = (
    select(*COLUMNS)
    .select_from(Collection)
    .join(Project, Project.id == Collection.project_id)
    .join(Entity, Entity.id == Project.entity_id)
    .where(Collection.id.in_(bindparam("ids", expanding=True)))
)


def homes(session: Session, collection_ids: Iterable[str]) -> dict[str, Home]:
    """The homes of collections, by id; also of deleted ones."""
    found: dict[str, Home] = {}
    for batch in batches(sorted(set(collection_ids))):
        found |= {row[-1]: Home(*row) for row in session.execute(_HOMES, {"ids": batch})}
    return found


def home_of(session: Session, collection: Collection) -> Home:
    """The home of one collection."""
    return homes(session, [collection.id])[collection.id]
