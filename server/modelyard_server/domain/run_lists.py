"""Listing runs: filter, order, pages."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case, or_, select
from sqlalchemy.orm import Session

from modelyard_server.db.engine import now
from modelyard_server.db.tables import Entity, Project, Run
from modelyard_server.domain import filters, owners, paging, runs
from modelyard_server.domain.filter_fields import Field, Json, Labels, Text, Time
from modelyard_server.domain.principals import Principal
from modelyard_server.domain.runs import RunView

_ORDERS: dict[str, ColumnElement[Any]] = {
    "create_time": Run.created_at.expression,
    "update_time": Run.updated_at.expression,
    "display_name": Run.display_name.expression,
    "run_id": Run.run_id.expression,
}


def page(
    session: Session,
    principal: Principal,
    entity: str,
    project: str,
    *,
    filter_: str,
    order_by: str,
    page_size: int,
    page_token: str,
) -> tuple[list[RunView], str]:
    """One page of a project's runs, or of all of an entity's, and the token of the next.

    Raises NotFound, InvalidFilter, InvalidPageToken, InvalidField.
    """
    query = select(Run, Entity.name, Project.name).join(Project, Run.project_id == Project.id).join(Entity)
    if project:
        query = query.where(Run.project_id == owners.find_project(session, principal, entity, project).id)
    else:
        query = query.where(Project.entity_id == owners.find_entity(session, principal, entity).id)
    condition = filters.condition(session, filter_, _fields(session))
    if condition is not None:
        query = query.where(condition)
    rows, token = paging.page(
        session,
        query.where(Run.deleted_at.is_(None)),
        order=paging.OrderBy.parse(order_by, _ORDERS, default="create_time desc", tie=Run.id.expression),
        size=paging.check_size(page_size),
        token=page_token,
        binding=("runs", entity or principal.entity, project, filter_, order_by),
    )
    return [RunView(run, owner, name, runs.state_of(session, run)) for run, owner, name in rows], token


def _fields(session: Session) -> dict[str, Field]:
    last_heard = now(session) - runs.SILENT_AFTER
    alive = or_(Run.state != runs.RUNNING, Run.heartbeat_at >= last_heard)
    return {
        "run_id": Text(Run.run_id),
        "display_name": Text(Run.display_name),
        # As it is shown: see runs.state_of.
        "state": Text(case((alive, Run.state), else_=runs.CRASHED)),
        "group": Text(Run.group),
        "job_type": Text(Run.job_type),
        "created_by": Text(Run.created_by),
        "create_time": Time(Run.created_at),
        "update_time": Time(Run.updated_at),
        "tags": Labels(Run.tags),
        "config": Json(Run.config),
        "summary": Json(Run.summary),
    }
