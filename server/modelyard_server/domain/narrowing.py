"""Finding the few rows that a filter can hold for, instead of looking at each.

A comparison that an index knows is first counted, no further than `FEW`. Where
it finds few rows, these are looked at one by one and sorted. Where every one
finds many, rows are walked in their order until the page is full, which comes
soon, since many fulfil it. So neither way looks at more than a few thousand
rows, unless the filter asks for what no index knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, select, union_all
from sqlalchemy.orm import Session

from modelyard_server.db import attributes
from modelyard_server.db.attributes import Attribute
from modelyard_server.db.tables import Alias
from modelyard_server.domain.filter_fields import Comparison, Narrow
from modelyard_server.domain.filters import Filter

FEW = 2000
SCANNED = 10 * FEW

NarrowBy = Callable[[Comparison], Narrow | None]


class Few(NamedTuple):
    """Rows of which one has to be if the filter holds for it."""

    size: int
    condition: ColumnElement[bool]


def few(session: Session, filter_: Filter | None, key: ColumnElement[Any]) -> Few | None:
    """The smallest set of rows that the filter's indexes know; None where each knows of many.

    `key` is the key of the rows that are listed.
    """
    best: Few | None = None
    for narrow in filter_.narrows if filter_ else ():
        if narrow.scanned is not None and _count(session, narrow.scanned, SCANNED) > SCANNED:
            continue
        count = _count(session, narrow.ids)
        # Twice as many: some may have come between this statement and the next.
        condition = narrow.column.in_(narrow.ids.limit(2 * count + 100))
        if count <= FEW and narrow.column is not key:
            count = _count(session, select(key).where(condition))
        if count <= FEW and (best is None or count < best.size):
            best = Few(count, condition)
    return best


def by_map(prefix: str, column: ColumnElement[Any], *inside: ColumnElement[bool]) -> NarrowBy:
    """The index over a map: `inside` says which of its rows count, `column` what they are the ids of."""

    def narrow(comparison: Comparison) -> Narrow | None:
        key, bound = attributes.key_of(prefix, comparison.path), _bound(comparison)
        if len(key) > attributes.KEY_LIMIT or bound is None:
            return None
        found = select(Attribute.subject_id).where(*inside, Attribute.key == key, bound)
        # Maps that are too large for the index have its mark alone.
        marked = select(Attribute.subject_id).where(*inside, Attribute.key == prefix, Attribute.text == "")
        return Narrow(column, select(union_all(found, marked).subquery().c.subject_id))

    return narrow


def by_tags(key: str, column: ColumnElement[Any], *inside: ColumnElement[bool]) -> NarrowBy:
    """The index over tags."""

    def narrow(comparison: Comparison) -> Narrow | None:
        tag = str(comparison.value)[: attributes.TEXT_LIMIT]
        return Narrow(
            column, select(Attribute.subject_id).where(*inside, Attribute.key == key, Attribute.text == tag)
        )

    return narrow


def by_alias(target: Any, key: ColumnElement[Any], inside: ColumnElement[bool]) -> NarrowBy:
    """The rows that an alias stands on; `target` is the column of Alias that names them.

    One name may stand on many rows elsewhere, which count as looked at too.
    """

    def narrow(comparison: Comparison) -> Narrow | None:
        standing = select(target).where(Alias.alias == comparison.value, target.is_not(None))
        return Narrow(key, select(key).where(key.in_(standing), inside), standing)

    return narrow


def by_text(column: ColumnElement[Any], ids: Select[Any], compared: ColumnElement[str]) -> NarrowBy:
    """The rows that point, by `column`, at one of `ids` whose text is the one asked for."""

    def narrow(comparison: Comparison) -> Narrow | None:
        if comparison.operator != "=":
            return None
        return Narrow(column, ids.where(compared == comparison.value))

    return narrow


def _count(session: Session, ids: Select[Any], most: int = FEW) -> int:
    return session.scalar(select(func.count()).select_from(ids.limit(most + 1).subquery())) or 0


def _bound(comparison: Comparison) -> ColumnElement[bool] | None:
    """What holds in the index whenever the comparison does."""
    value, operator = comparison.value, comparison.operator
    if operator in ("!=", ":"):
        return None
    if isinstance(value, str):
        column: Any = Attribute.text
        kept: Any = value[: attributes.TEXT_LIMIT]
    else:
        column, kept = Attribute.number, float(value)  # type: ignore[arg-type]  # `*` goes with `:` alone
    if operator == "=":
        return column == kept  # type: ignore[no-any-return]  # of either column
    # A text that is cut, or a number that is rounded, may have become equal.
    return column <= kept if operator in ("<", "<=") else column >= kept  # type: ignore[no-any-return]
