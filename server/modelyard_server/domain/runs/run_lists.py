"""Lists of runs: filters, orders and pages."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.orm import Session

from modelyard.contract.values import RUN_STATES
from modelyard_server.db import attributes
from modelyard_server.db.attributes import Attribute
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Entity, Project, Run
from modelyard_server.db.upserts import batches
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.runs import attempts, run_maps, runs, state_filters
from modelyard_server.domain.runs.map_filters import MapOfRun
from modelyard_server.domain.runs.run_maps import CONFIG, SUMMARY
from modelyard_server.domain.runs.runs import RunView
from modelyard_server.domain.search import candidates, filters, key_orders, list_scope, paging
from modelyard_server.domain.search.candidates import MapIndex, NameIndex, TagIndex
from modelyard_server.domain.search.filter_fields import Indexed, TagList, Text, Time
from modelyard_server.domain.search.list_scope import Scope
from modelyard_server.domain.search.paging import OrderBy, OrderKey, Segment, Term

_STATE = "state"
_ID: ColumnElement[Any] = Run.id.expression
_CREATED: ColumnElement[Any] = Run.created_at.expression
_ORDERS: dict[str, ColumnElement[Any]] = {
    "create_time": _CREATED,
    "update_time": Run.updated_at.expression,
    "display_name": Run.display_name.expression,
    "name": Run.run_id.expression,
}
_PREFIXES = {CONFIG: attributes.RUN_CONFIG, SUMMARY: attributes.RUN_SUMMARY}


@dataclass(frozen=True)
class Shown:
    """What a page has of each run, and how large it may be.

    `parts` are the maps that are read. The page ends before they have more than about
    `most_bytes` on the wire. `total` is whether to count the runs of all pages.
    """

    most_bytes: int
    parts: Collection[str] = run_maps.PARTS
    total: bool = False


class RunPage(NamedTuple):
    """Runs, the token of the next page, and how many runs match if that was asked."""

    views: list[RunView]
    token: str
    total: int | None


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
    shown: Shown,
) -> RunPage:
    """One page of a project's runs, or of all of an entity's.

    Raises NotFound, InvalidFilter, InvalidPageToken, InvalidField.
    """
    scope = list_scope.of_names(session, principal, entity, project)
    silent_before = now(session) - runs.SILENT_AFTER
    found = filters.parse(session, filter_, _fields(scope, silent_before))
    few = candidates.smallest_set(session, found, _ID)
    condition = found.condition if found else true()
    live = [Run.deleted_at.is_(None), *([few.condition] if few else [])]
    inside = scope.holds(Run, by_index=few is None)
    keys = _order_keys(order_by)
    segments = _segments(keys, [*live, condition], inside, silent_before, walked=None if few else scope)

    def some(size: int) -> tuple[list[RunView], str]:
        rows, token = paging.page_of_segments(
            session,
            segments,
            size=size,
            token=page_token,
            binding=("runs", entity or principal.entity, project, filter_, order_by),
        )
        return _named(session, rows), token

    views, token = _filled(session, some, paging.check_size(page_size), shown)
    if not shown.total:
        return RunPage(views, token, None)
    if few is None:
        fields = _fields(scope, silent_before, sets=True, marks=_has_marks(session, scope))
        by_sets = filters.condition(session, filter_, fields)
        condition = condition if by_sets is None else by_sets
    counted = select(func.count()).select_from(Run).where(*live, condition, inside)
    return RunPage(views, token, session.scalar(counted))


def _order_keys(order_by: str) -> list[OrderKey]:
    return paging.split(order_by, [*_ORDERS, _STATE], default="create_time desc", maps=list(_PREFIXES))


def _segments(
    keys: list[OrderKey],
    matching: Sequence[ColumnElement[bool]],
    inside: ColumnElement[bool],
    silent_before: int,
    walked: Scope | None,
) -> list[Segment]:
    query = select(Run).where(*matching)
    by_map = next((key.name for key in keys if key.path), "")
    if by_map:
        return key_orders.chain(
            keys, _PREFIXES[by_map], query, subject=_ID, created=_CREATED, inside=inside, walked=walked
        )
    columns = {**_ORDERS, _STATE: state_filters.state_at(silent_before)}
    if keys[0].name != _STATE:
        return [Segment(query.where(inside), _by_columns(keys, columns))]
    # The runs of one state after those of another, so that an index serves the order within each.
    words = sorted(RUN_STATES, reverse=keys[0].descending)
    order = _by_columns(keys[1:] or [OrderKey("create_time", (), keys[0].descending)], columns)
    return [
        Segment(query.where(inside, state_filters.in_state(word, silent_before)), order) for word in words
    ]


def _by_columns(keys: Sequence[OrderKey], columns: Mapping[str, ColumnElement[Any]]) -> OrderBy:
    terms = [Term(columns[key.name], key.descending) for key in keys]
    return OrderBy((*terms, Term(_ID, terms[0].descending)))


def _named(session: Session, rows: Sequence[Run]) -> list[RunView]:
    """The views of runs. Names are looked up apart: the database cannot begin with a join."""
    query = select(Project.id, Entity.name, Project.name).join(Entity, Entity.id == Project.entity_id)
    names: dict[int, tuple[str, str]] = {}
    for batch in batches(sorted({row.project_id for row in rows})):
        found = session.execute(query.where(Project.id.in_(batch)))
        names |= {id_: (entity, project) for id_, entity, project in found}
    return [RunView(row, *names[row.project_id], runs.state_of(session, row)) for row in rows]


def _has_marks(session: Session, scope: Scope) -> bool:
    """Whether some config or summary in the scope is too large for the index."""
    found = candidates.marked(scope.holds(Attribute), *_PREFIXES.values())
    return session.scalar(found.limit(1)) is not None


def attempts_page(
    session: Session, principal: Principal, run_id: str, *, page_size: int, page_token: str, shown: Shown
) -> tuple[list[RunView], str]:
    """One page of a run's attempts, latest first; otherwise as `page`. Raises NotFound, InvalidField."""
    latest = runs.find(session, principal, run_id)
    binding = ("attempts", latest.run.id)
    first = latest.run.attempt
    if page_token:
        first = min(first, *paging.decode(page_token, binding, [paging.KEY]))

    def some(size: int) -> tuple[list[RunView], str]:
        last = max(first - size, 0) + 1
        earlier = attempts.between(session, latest.run, last, first)
        found = [latest] if first == latest.run.attempt else []
        found += (latest._replace(state=runs.state_of(session, row), earlier=row) for row in earlier)
        return found, paging.encode(binding, [last - 1]) if last > 1 else ""

    return _filled(session, some, paging.check_size(page_size), shown)


def _filled(
    session: Session, page: Callable[[int], tuple[list[RunView], str]], size: int, shown: Shown
) -> tuple[list[RunView], str]:
    """A page with its maps, which are read only as far as they fit; at least one run."""
    views, token = page(size)
    if not shown.parts:
        return views, token
    bytes_ = run_maps.sizes(session, [view.attempt for view in views], shown.parts)
    totals = itertools.accumulate(bytes_.get(view.attempt, 0) for view in views)
    fitting = sum(total <= shown.most_bytes for total in totals)
    if 1 < len(views) > fitting:
        views, token = page(max(fitting, 1))
    return runs.with_maps(session, views, shown.parts), token


def _fields(scope: Scope, silent_before: int, *, sets: bool = False, marks: bool = True) -> filters.Fields:
    """The fields of the filter; `sets` and `marks` as in `MapIndex`."""
    inside = scope.holds(Attribute)
    named = select(Run.id).where(scope.holds_project(Run.project_id))  # the index of names is by project
    return {
        "name": Indexed(Text(Run.run_id), NameIndex(_ID, named, Run.run_id.expression)),
        "display_name": Text(Run.display_name),
        "state": state_filters.state_field(scope.holds(Run), silent_before),
        "group": Text(Run.group),
        "job_type": Text(Run.job_type),
        "created_by": Text(Run.created_by),
        "create_time": Time(Run.created_at),
        "update_time": Time(Run.updated_at),
        "tags": Indexed(TagList(Run.tags), TagIndex(attributes.RUN_TAGS, _ID, inside, sets=sets)),
        **{
            part: Indexed(MapOfRun(part), MapIndex(prefix, _ID, inside, sets=sets, marks=marks))
            for part, prefix in _PREFIXES.items()
        },
    }
