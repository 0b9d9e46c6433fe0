"""Entities and projects: found for reading, created at the first write."""

from __future__ import annotations

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Entity, Project
from modelyard_server.domain import fields
from modelyard_server.domain.access.authorize import Action, Resource, authorize
from modelyard_server.domain.access.owner_not_found import project_not_found
from modelyard_server.domain.access.principals import Principal

# Built once: building a statement takes longer than running it.
_ENTITY = select(Entity).where(Entity.name == bindparam("entity"))
_PROJECT = (
    select(Project)
    .join(Entity, Entity.id == Project.entity_id)
    .where(Entity.name == bindparam("entity"), Project.name == bindparam("project"))
)


def find_entity(session: Session, principal: Principal, name: str) -> Entity:
    """The entity, by default the caller's own. Raises NotFound, also if the caller may not read it."""
    name = name or principal.entity
    row: Entity | None = None
    if _may_exist(name) and authorize(session, principal, Action.READ, Resource(name)):
        row = session.scalar(_ENTITY, {"entity": name})
    if row is None:
        raise not_found("entity", name)
    return row


def find_project(session: Session, principal: Principal, entity: str, project: str) -> Project:
    """The project, by default `uncategorized` of the caller's entity. Raises NotFound."""
    row = project_if_any(session, principal, entity, project)
    if row is None:
        entity, project = entity or principal.entity, project or refs.DEFAULT_PROJECT
        if not _may_exist(entity, project):
            raise not_found("project", f"{entity}/{project}")
        raise project_not_found(session, principal, entity, project)
    return row


def project_if_any(session: Session, principal: Principal, entity: str, project: str) -> Project | None:
    """As `find_project`; None if there is none, also if the caller may not read it."""
    entity, project = entity or principal.entity, project or refs.DEFAULT_PROJECT
    if not _may_exist(entity, project):
        return None
    if not authorize(session, principal, Action.READ, Resource(entity, project)):
        return None
    row: Project | None = session.scalar(_PROJECT, {"entity": entity, "project": project})
    return row


def ensure_entity(session: Session, principal: Principal, name: str, *, project: str = "") -> Entity:
    """The entity to write to, or to a project of, created if missing. Raises NotAllowed, InvalidField."""
    name = name or principal.entity
    fields.check("entity", refs.check_owner, name, "entity")
    if not authorize(session, principal, Action.WRITE, Resource(name, project)):
        raise errors.NotAllowed(f"{principal.name} has no right to write to the entity {name!r}")
    row: Entity | None = session.scalar(_ENTITY, {"entity": name})
    if row is None:
        row = Entity(name=name, created_at=now(session))
        session.add(row)
        session.flush()  # of two concurrent transactions, the second is retried and finds the row
    return row


def ensure_project(session: Session, principal: Principal, entity: str, project: str) -> Project:
    """The project to write to, created if missing. Raises NotAllowed, InvalidField."""
    project = project or refs.DEFAULT_PROJECT
    fields.check("project", refs.check_owner, project, "project")
    owner = ensure_entity(session, principal, entity, project=project)
    row: Project | None = session.scalar(_PROJECT, {"entity": owner.name, "project": project})
    if row is None:
        row = Project(
            entity_id=owner.id,
            name=project,
            created_by=principal.name,
            created_at=now(session),
            event_seq=0,
            run_count=0,
        )
        session.add(row)
        session.flush()
    return row


def entity_of(session: Session, project: Project) -> Entity:
    """The entity of a project."""
    return session.get_one(Entity, project.entity_id)


def _may_exist(*names: str) -> bool:
    """Whether these can be names in a database: PostgreSQL takes no text with U+0000."""
    return not any("\0" in name for name in names)


def not_found(kind: str, what: str) -> errors.NotFound:
    """The error for what is missing or not visible to the caller: the same in both cases."""
    return errors.NotFound(f"{kind} {what!r} was not found", metadata={"resource_type": kind, "ref": what})
