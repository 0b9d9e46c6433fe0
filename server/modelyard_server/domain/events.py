"""Events: the audit history of each project.

Rules call `record`; the events are numbered at the end of the transaction, since
the counter of a project is the last row that a transaction may lock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

from sqlalchemy import ColumnElement, Table, bindparam, insert, select, update
from sqlalchemy.orm import Session

from modelyard.contract.values import RUN_STATES
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Event, Project
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.search import filters
from modelyard_server.domain.search.filter_fields import Comparison, Field, Json, Text, Time, Word

TYPES = (
    *("version_created", "version_updated", "version_deleted", "linked", "unlinked"),
    *("alias_added", "alias_removed", "tag_added", "tag_removed", "run_state"),
    *("collection_created", "collection_updated", "collection_deleted"),
)
"""Types of events as they are stored: the names of the wire's EventType in lower case, without prefix."""
TYPE_PREFIX = "EVENT_TYPE_"
RUN_STATE_PREFIX = "RUN_STATE_"

_PENDING = "pending events"
_PROJECT: Any = Project.__table__
_COUNT = (
    update(_PROJECT)
    .where(_PROJECT.c.id == bindparam("of"))
    .values(event_seq=_PROJECT.c.event_seq + bindparam("more"))
    .returning(_PROJECT.c.event_seq)
)
_ADD = insert(cast(Table, Event.__table__))


class EventSlice(NamedTuple):
    """Events in order, the last sequence examined, and whether there may be more events after it."""

    events: Sequence[Event]
    position: int
    more: bool


def record(
    session: Session,
    project_id: int,
    type: str,
    principal: Principal,
    *,
    collection_id: str | None = None,
    **details: str,
) -> None:
    """Records an event of one of `TYPES`. Empty details are left out."""
    kept = {key: value for key, value in details.items() if value}
    session.info.setdefault(_PENDING, []).append((project_id, type, principal.name, collection_id, kept))


def flush(session: Session) -> None:
    """Numbers and stores the events of this transaction; counters are locked in the order of their id."""
    by_project: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for project_id, *rest in session.info.pop(_PENDING, ()):
        by_project[project_id].append(tuple(rest))
    for project_id in sorted(by_project):
        recorded = by_project[project_id]
        last = session.execute(_COUNT, {"of": project_id, "more": len(recorded)}).scalar_one()
        session.execute(
            _ADD,
            [
                {
                    "project_id": project_id,
                    "seq": last - len(recorded) + number,
                    "type": type_,
                    "time": now(session),
                    "principal": principal,
                    "collection_id": collection_id,
                    "details": details,
                }
                for number, (type_, principal, collection_id, details) in enumerate(recorded, 1)
            ],
        )


def changed_projects(session: Session) -> set[int]:
    """The projects of the events that this transaction has recorded."""
    return {project_id for project_id, *_ in session.info.get(_PENDING, ())}


def check_filter(session: Session, filter_: str) -> None:
    """Raises InvalidFilter for a filter that is not one of events."""
    filters.condition(session, filter_, _FIELDS)


def after(
    session: Session, project_id: int, sequence: int, limit: int, filter_: str = "", *, span: int = 0
) -> EventSlice:
    """At most `limit` events of a project after a sequence number, oldest first.

    Examines at most `span` events, however few match the filter; 0 means all. Raises
    InvalidFilter.
    """
    # The end first: events committed between the two statements are left for the next call.
    last = session.execute(select(Project.event_seq).where(Project.id == project_id)).scalar_one()
    end = min(last, sequence + span) if span else last
    condition = filters.condition(session, filter_, _FIELDS)
    query = select(Event).where(Event.project_id == project_id, Event.seq > sequence, Event.seq <= end)
    if condition is not None:
        query = query.where(condition)
    found = session.scalars(query.order_by(Event.seq).limit(limit + 1)).all()
    if len(found) > limit:
        return EventSlice(found[:limit], found[limit - 1].seq, more=True)
    return EventSlice(found, max(sequence, end), more=end < last)


@dataclass(frozen=True)
class _Detail:
    """A field of `details`, which are texts."""

    key: str
    operators: ClassVar[frozenset[str]] = Json.operators
    has_keys: ClassVar[bool] = False

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        return Json(Event.details).condition(comparison._replace(path=(self.key,)))


_FIELDS: dict[str, Field] = {
    "type": Word(Event.type, TYPES, TYPE_PREFIX),
    "principal": Text(Event.principal),
    "create_time": Time(Event.time),
    **{key: _Detail(key) for key in ("collection", "version", "alias", "run_id")},
    "run_state": Word(Event.details["run_state"].as_string(), RUN_STATES, RUN_STATE_PREFIX),
}
