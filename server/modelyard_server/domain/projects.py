"""Projects with what they hold, one by one and in lists; and the principals of an entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, func, literal_column, select
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard_server.db.caller_tables import PrincipalRow
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Collection, Event, Project, Run
from modelyard_server.domain import fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.runs import runs
from modelyard_server.domain.search import filters, list_scope, paging
from modelyard_server.domain.search.filter_fields import Text, Time
from modelyard_server.domain.search.paging import OrderBy, Term

ORDERS: Mapping[str, ColumnElement[Any]] = {
    "name": Project.name.expression,
    "create_time": Project.created_at.expression,
}
_FIELDS: filters.Fields = {
    "name": Text(Project.name),
    "created_by": Text(Project.created_by),
    "create_time": Time(Project.created_at),
}
# Built once: building a statement takes longer than running it.
_OF: BindParameter[Any] = bindparam("projects", expanding=True)
_RUNS = (
    select(Run.project_id, func.count())
    .where(Run.project_id.in_(_OF), Run.deleted_at.is_(None))
    .group_by(Run.project_id)
)
_RUNNING = select(Run.project_id, Run.heartbeat_at).where(
    Run.state == literal_column(f"'{runs.RUNNING}'"),  # a parameter would not match the index
    Run.deleted_at.is_(None),
    Run.project_id.in_(_OF),
)
_COLLECTIONS = (
    select(Collection.project_id, Collection.kind, func.count())
    .where(Collection.project_id.in_(_OF), Collection.deleted_at.is_(None))
    .group_by(Collection.project_id, Collection.kind)
)
_EVENTS = (
    select(Event.project_id, Event.time)
    .join(Project, and_(Project.id == Event.project_id, Project.event_seq == Event.seq))
    .where(Project.id.in_(_OF))
)


class ProjectView(NamedTuple):
    """A project, its owner, what it holds, and when something last happened in it (µs since 1970)."""

    row: Project
    entity: str
    runs: int
    running: int
    artifacts: int
    registered_models: int
    active_at: int


class PrincipalView(NamedTuple):
    """A principal with its entity's name."""

    row: PrincipalRow
    entity: str


def create(session: Session, principal: Principal, entity: str, name: str) -> ProjectView:
    """Makes a project. Raises AlreadyExists, NotAllowed, InvalidField."""
    fields.check("project.name", refs.check_owner, name, "project")
    fields.check_place("project.", entity, "")
    entity = entity or principal.entity
    owner = owners.ensure_entity(session, principal, entity, project=name)
    known = session.scalar(select(Project.id).where(Project.entity_id == owner.id, Project.name == name))
    if known is not None:
        raise errors.AlreadyExists(f"project {f'{entity}/{name}'!r} exists", metadata={"name": name})
    row = owners.ensure_project(session, principal, entity, name)
    return _described(session, [row], entity)[0]


def get(session: Session, principal: Principal, entity: str, name: str) -> ProjectView:
    """One project. Raises NotFound."""
    row = owners.find_project(session, principal, entity, name)
    return _described(session, [row], entity or principal.entity)[0]


def page(
    session: Session,
    principal: Principal,
    *,
    entity: str,
    filter_: str,
    order_by: str,
    page_size: int,
    page_token: str,
) -> tuple[list[ProjectView], str]:
    """One page of the projects of an entity.

    Raises NotFound, InvalidField, InvalidFilter, InvalidPageToken.
    """
    entity = entity or principal.entity
    scope = list_scope.of_names(session, principal, entity, "")
    query = select(Project).where(Project.entity_id == scope.entity_id)
    found = filters.parse(session, filter_, _FIELDS)
    if found is not None:
        query = query.where(found.condition)
    rows, token = paging.page(
        session,
        query,
        order=OrderBy.parse(order_by, ORDERS, default="name", tie=Project.id.expression),
        size=paging.check_size(page_size),
        token=page_token,
        binding=("projects", entity, filter_, order_by),
    )
    return _described(session, rows, entity), token


def principals(
    session: Session, principal: Principal, *, entity: str, page_size: int, page_token: str
) -> tuple[list[PrincipalView], str]:
    """One page of the principals of an entity, by name. Raises NotFound, InvalidField, InvalidPageToken."""
    entity = entity or principal.entity
    scope = list_scope.of_names(session, principal, entity, "")
    rows, token = paging.page(
        session,
        select(PrincipalRow).where(PrincipalRow.entity_id == scope.entity_id),
        order=OrderBy((Term(PrincipalRow.name.expression),)),
        size=paging.check_size(page_size),
        token=page_token,
        binding=("principals", entity),
    )
    return [PrincipalView(row, entity) for row in rows], token


def _described(session: Session, rows: Sequence[Project], entity: str) -> list[ProjectView]:
    """The views of projects of one entity, in a constant number of statements."""
    of = {"projects": [row.id for row in rows]}
    if not rows:
        return []
    counts = {project: int(count) for project, count in session.execute(_RUNS, of)}
    kinds = {(project, kind): count for project, kind, count in session.execute(_COLLECTIONS, of)}
    active = {project: int(time) for project, time in session.execute(_EVENTS, of)}
    running = dict.fromkeys(of["projects"], 0)
    time = now(session)
    for project, heartbeat in session.execute(_RUNNING, of):
        active[project] = max(active.get(project, 0), heartbeat)
        running[project] += runs.state_at(time, runs.RUNNING, heartbeat) == runs.RUNNING
    return [
        ProjectView(
            row,
            entity,
            counts.get(row.id, 0),
            running[row.id],
            kinds.get((row.id, "artifact"), 0),
            kinds.get((row.id, "model"), 0),
            active.get(row.id, row.created_at),
        )
        for row in rows
    ]
