"""Finding the few rows that a filter can hold for, instead of looking at each.

A comparison that an index knows is first counted, no further than `FEW`. Where
it finds few rows, these are looked at one by one and sorted. Where every one
finds many, rows are walked in their order until the page is full, which comes
soon, since many fulfil it. So neither way looks at more than a few thousand
rows, unless the filter asks for what no index knows, or two comparisons hold
for many rows each and hardly ever for the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    case,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import Session

from modelyard_server.db import attributes
from modelyard_server.db.attributes import Attribute
from modelyard_server.domain.search.filter_fields import Comparison, Narrow
from modelyard_server.domain.search.filters import Filter

FEW = 2000
_EXACT = 1 << 53
"""Below it a double tells every whole number from the next."""


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
        size = _count(session, narrow.ids)
        # Twice as many: some may have come between this statement and the next.
        condition = narrow.column.in_(narrow.ids.limit(2 * size + 100))
        if size <= FEW and narrow.column is not key:
            size = _count(session, select(key).where(condition))
        if size <= FEW and (best is None or size < best.size):
            best = Few(size, condition)
    return best


@dataclass(frozen=True)
class MapIndex:
    """The index over a map.

    `subject` is the id of the row that holds it; `inside` says which rows count
    where the index is walked, `seen` which count beside a row, all by default.
    """

    prefix: str
    subject: ColumnElement[Any]
    inside: ColumnElement[bool]
    seen: ColumnElement[bool] = field(default_factory=true)

    def narrow(self, comparison: Comparison) -> Narrow | None:
        """By the entry in question, or by the mark of a map that is too large for the index."""
        bound = None if comparison.operator == "!=" else _bound(self.prefix, comparison)
        if bound is None:
            return None
        found = select(Attribute.subject_id).where(self.inside, Attribute.key == bound.key, bound.condition)
        marked = select(Attribute.subject_id).where(
            self.inside, Attribute.key == self.prefix, Attribute.text == ""
        )
        return Narrow(self.subject, select(union_all(found, marked).subquery().c.subject_id))

    def condition(self, comparison: Comparison, checked: ColumnElement[bool]) -> ColumnElement[bool] | None:
        """One look into the index; into the map only where that does not decide."""
        opposite = comparison.operator == "!="
        bound = _bound(self.prefix, comparison._replace(operator="=") if opposite else comparison)
        if bound is None:
            return None
        own = select(Attribute.key).where(
            Attribute.subject_id == self.subject,
            Attribute.key.in_([bound.key, self.prefix]),
            Attribute.item == 0,
            or_(Attribute.key == self.prefix, bound.condition),
            self.seen,
        )
        decided = literal(not opposite) if bound.exact else checked
        return case(
            {bound.key: decided, self.prefix: checked},
            value=_beside(own, self.subject),
            else_=literal(opposite),
        )


@dataclass(frozen=True)
class TagIndex:
    """The index over tags; as MapIndex."""

    key: str
    subject: ColumnElement[Any]
    inside: ColumnElement[bool]
    seen: ColumnElement[bool] = field(default_factory=true)

    def narrow(self, comparison: Comparison) -> Narrow | None:
        """By the tag."""
        return Narrow(self.subject, select(Attribute.subject_id).where(self.inside, *self._holds(comparison)))

    def condition(self, comparison: Comparison, checked: ColumnElement[bool]) -> ColumnElement[bool]:
        """One look into the index, unless the text is too long for it."""
        if len(str(comparison.value)) >= attributes.TEXT_LIMIT:
            return checked
        own = select(Attribute.key).where(
            Attribute.subject_id == self.subject, *self._holds(comparison), self.seen
        )
        return _beside(own, self.subject).is_not(None)

    def _holds(self, comparison: Comparison) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return Attribute.key == self.key, Attribute.text == str(comparison.value)[: attributes.TEXT_LIMIT]


@dataclass(frozen=True)
class NameIndex:
    """The rows that are named so: `found` with a `name` gives the values of `column`."""

    column: ColumnElement[Any]
    found: Select[Any]
    name: ColumnElement[str]
    operator: str = "="

    def narrow(self, comparison: Comparison) -> Narrow | None:
        """By a whole name."""
        if comparison.operator != self.operator or not isinstance(comparison.value, str):
            return None
        return Narrow(self.column, self.found.where(self.name == comparison.value))

    def condition(self, comparison: Comparison, checked: ColumnElement[bool]) -> None:
        """Has nothing cheaper."""


def _beside(own: Select[Any], subject: ColumnElement[Any]) -> ScalarSelect[Any]:
    # A subquery with one row rather than EXISTS, which the database may turn into a join to begin with.
    return own.limit(1).correlate(subject.table).scalar_subquery()


class _Bound(NamedTuple):
    """What holds in the index whenever a comparison does; `exact`: and only then."""

    key: str
    condition: ColumnElement[bool]
    exact: bool


def _bound(prefix: str, comparison: Comparison) -> _Bound | None:
    value, operator = comparison.value, comparison.operator
    key = attributes.key_of(prefix, comparison.path)
    if isinstance(value, bool):
        key = attributes.bool_key_of(key)
    if operator == ":" or len(key) > attributes.KEY_LIMIT:
        return None
    if isinstance(value, str):
        column: Any = Attribute.text
        kept: Any = value[: attributes.TEXT_LIMIT]
        exact = len(value) < attributes.TEXT_LIMIT
    else:
        column, kept = Attribute.number, float(value)  # type: ignore[arg-type]  # `*` goes with `:` alone
        exact = abs(kept) < _EXACT
    return _Bound(key, _compared(operator, column, kept, exact=exact), exact)


def _compared(operator: str, column: Any, kept: Any, *, exact: bool) -> ColumnElement[bool]:
    if operator == "=":
        return column == kept  # type: ignore[no-any-return]  # of either column
    # A text that is cut, or a number that is rounded, may have become equal.
    below = column < kept if operator == "<" and exact else column <= kept
    above = column > kept if operator == ">" and exact else column >= kept
    return below if operator in ("<", "<=") else above  # type: ignore[no-any-return]


def _count(session: Session, ids: Select[Any]) -> int:
    return session.scalar(select(func.count()).select_from(ids.limit(FEW + 1).subquery())) or 0
