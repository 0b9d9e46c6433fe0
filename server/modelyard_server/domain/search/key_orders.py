"""Orders by a key of a map, such as `metadata.acc desc`, by the index of attributes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, exists
from sqlalchemy.orm import aliased

from modelyard.contract import errors
from modelyard_server.db import attributes
from modelyard_server.db.attributes import Attribute
from modelyard_server.domain.search.list_scope import Scope
from modelyard_server.domain.search.paging import OrderBy, OrderKey, Segment, Term


def chain(
    keys: list[OrderKey],
    prefix: str,
    query: Select[Any],
    *,
    subject: ColumnElement[Any],
    created: ColumnElement[Any],
    inside: ColumnElement[bool],
    walked: Scope | None,
    always_inside: bool = False,
) -> list[Segment]:
    """First the rows whose value is a number, then texts by their first characters, then the rest by time.

    `subject` and `created` are the rows' id and time, `prefix` that of the map in the
    index. With `walked` the entries of the index are read in its order, else the entry
    of each row is looked up; the rows themselves are restricted to `inside` where they
    are read, or `always_inside`. Raises InvalidField.
    """
    key = attributes.key_of(prefix, keys[0].path)
    if len(keys) > 1 or len(key) > attributes.KEY_LIMIT:
        raise errors.InvalidField.of(
            "order_by",
            f"a key of {keys[0].name} stands alone and has at most {attributes.KEY_LIMIT} characters",
        )
    descending = keys[0].descending
    at = aliased(Attribute)
    own = (at.subject_id == subject) & (at.key == key) & (at.item == 0)
    valued = query.join(at, own)
    if walked is not None:
        # Only for the entry, not also for its row: so the database can begin only with the entries.
        valued = valued.where(walked.holds(at))
    if walked is None or always_inside:
        valued = valued.where(inside)
    parts = [
        Segment(
            valued.where(column.is_not(None)),
            OrderBy((Term(column.expression, descending), Term(at.subject_id.expression, descending))),
        )
        for column in (at.number, at.text)
    ]
    rest = query.where(inside, ~exists().where(own))
    return [*parts, Segment(rest, OrderBy((Term(created, descending), Term(subject, descending))))]
