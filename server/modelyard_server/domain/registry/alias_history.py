"""The history of aliases, read from the events.

Every change of an alias is an event, including those by deletes and unlinks, so
nothing else is stored.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from modelyard.contract import refs
from modelyard_server.db.tables import Collection, Event
from modelyard_server.domain import fields
from modelyard_server.domain.search import paging

DEFAULT_SIZE = 100
ADDED, REMOVED = "alias_added", "alias_removed"

_alias = Event.details["alias"].as_string()


class AliasChange(NamedTuple):
    """One change. `previous` is empty if the alias was new, `version` if it was removed."""

    alias: str
    previous: str
    version: str
    principal: str
    time: int
    sequence: int


def page(
    session: Session, collection: Collection, *, alias: str, at: int | None, page_size: int, page_token: str
) -> tuple[list[AliasChange], str]:
    """The changes of a collection's aliases, newest first; all of them, or those of one alias.

    With `at`, in microseconds since 1970, the state at that time instead: for each
    alias that existed, the change that set it. Raises InvalidField, InvalidPageToken.
    """
    if alias:
        fields.check("alias", refs.check_alias, alias)
    query = _changes(collection, alias) if at is None else _state(session, collection, alias, at)
    rows, token = paging.page(
        session,
        query,
        order=_NEWEST_FIRST,
        size=paging.check_size(page_size, default=DEFAULT_SIZE),
        token=page_token,
        binding=("alias changes", collection.id, alias, at),
    )
    return [_change(event) for event in rows], token


_NEWEST_FIRST = paging.OrderBy((paging.Term(Event.seq.expression, descending=True),))


def _changes(collection: Collection, alias: str) -> Select[Event]:
    # A collection stays in its project, so its events are in the order of their sequence.
    query = select(Event).where(
        Event.collection_id == collection.id,
        Event.project_id == collection.project_id,
        Event.type.in_((ADDED, REMOVED)),
    )
    return query.where(_alias == alias) if alias else query


def _state(session: Session, collection: Collection, alias: str, at: int) -> Select[Event]:
    """The last change of each alias up to a time, without aliases that were removed.

    An event has the time at which its transaction began, so it may be older than the
    event before it. The state includes all events up to the last one of that time.
    """
    changes = _changes(collection, alias)
    end = session.scalar(changes.where(Event.time <= at).with_only_columns(func.max(Event.seq)))
    last = changes.where(Event.seq <= (end or 0)).with_only_columns(func.max(Event.seq)).group_by(_alias)
    return changes.where(Event.seq.in_(last), Event.type == ADDED)


def _change(event: Event) -> AliasChange:
    version, previous = event.details.get("version", ""), event.details.get("previous_version", "")
    if event.type == REMOVED:
        version, previous = "", version
    return AliasChange(event.details["alias"], previous, version, event.principal, event.time, event.seq)
