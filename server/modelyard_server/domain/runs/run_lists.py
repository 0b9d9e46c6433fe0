"""Lists of runs: filters, orders and pages."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case, or_, select
from sqlalchemy.orm import Session

from modelyard.contract.values import RUN_STATES
from modelyard_server.db import attributes
from modelyard_server.db.attributes import Attribute
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Entity, Project, Run
from modelyard_server.domain import events
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.runs import runs
from modelyard_server.domain.runs.runs import RunView
from modelyard_server.domain.search import candidates, filters, list_scope, paging
from modelyard_server.domain.search.filter_fields import Indexed, Json, TagList, Text, Time, Word
from modelyard_server.domain.search.list_scope import Scope

_ID: ColumnElement[Any] = Run.id.expression
_ORDERS: dict[str, ColumnElement[Any]] = {
    "create_time": Run.created_at.expression,
    "update_time": Run.updated_at.expression,
    "display_name": Run.display_name.expression,
    "name": Run.run_id.expression,
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
    scope = list_scope.of_names(session, principal, entity, project)
    query = select(Run, Entity.name, Project.name).join(Project, Run.project_id == Project.id).join(Entity)
    query = query.where(scope.holds_project(Run.project_id))
    found = filters.parse(session, filter_, _fields(session, scope))
    if found is not None:
        few = candidates.smallest_set(session, found, _ID)
        query = query.where(found.condition, *([few.condition] if few else ()))
    rows, token = paging.page(
        session,
        query.where(Run.deleted_at.is_(None)),
        order=paging.OrderBy.parse(order_by, _ORDERS, default="create_time desc", tie=_ID),
        size=paging.check_size(page_size),
        token=page_token,
        binding=("runs", entity or principal.entity, project, filter_, order_by),
    )
    return [RunView(run, owner, name, runs.state_of(session, run)) for run, owner, name in rows], token


def _fields(session: Session, scope: Scope) -> filters.Fields:
    inside = scope.holds(Attribute)
    last_heard = now(session) - runs.SILENT_AFTER
    alive = or_(Run.state != runs.RUNNING, Run.heartbeat_at >= last_heard)
    return {
        "name": Text(Run.run_id),
        "display_name": Text(Run.display_name),
        # The state that replies show: see runs.state_of.
        "state": Word(case((alive, Run.state), else_=runs.CRASHED), RUN_STATES, events.RUN_STATE_PREFIX),
        "group": Text(Run.group),
        "job_type": Text(Run.job_type),
        "created_by": Text(Run.created_by),
        "create_time": Time(Run.created_at),
        "update_time": Time(Run.updated_at),
        "tags": Indexed(TagList(Run.tags), candidates.TagIndex(attributes.RUN_TAGS, _ID, inside)),
        "config": Indexed(Json(Run.config), candidates.MapIndex(attributes.RUN_CONFIG, _ID, inside)),
        "summary": Indexed(Json(Run.summary), candidates.MapIndex(attributes.RUN_SUMMARY, _ID, inside)),
    }
