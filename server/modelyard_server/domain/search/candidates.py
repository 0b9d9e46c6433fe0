"""Finds the rows that a filter can match by the index, instead of reading all.

The matches of each indexed comparison are counted, up to `FEW`. If one has few,
only those rows are checked and sorted. If all have many, rows are read in the
requested order until the page is full, which is soon since many match. Either way
reads at most a few thousand rows, unless the filter compares fields that are not
indexed, or two comparisons match many rows each but hardly any together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
    case,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import Session

from modelyard_server.db import attributes
from modelyard_server.db.attributes import Attribute
from modelyard_server.domain.search.filter_fields import Candidates, Comparison
from modelyard_server.domain.search.filters import Filter

FEW = 2000
_EXACT = 1 << 53
"""Below it every whole number is exact as a double."""


class FewRows(NamedTuple):
    """A set of rows that contains every match of the filter."""

    size: int
    condition: ColumnElement[bool]


def smallest_set(session: Session, filter_: Filter | None, key: ColumnElement[Any]) -> FewRows | None:
    """The smallest set of rows by the filter's indexes; None if each has many. `key` is the rows' key."""
    best: FewRows | None = None
    for candidate in filter_.candidates if filter_ else ():
        size = _count(session, candidate.ids)
        # Twice as many: rows may be added between this statement and the next.
        condition = candidate.column.in_(candidate.ids.limit(2 * size + 100))
        if size <= FEW and candidate.column is not key:
            size = _count(session, select(key).where(condition))
        if size <= FEW and (best is None or size < best.size):
            best = FewRows(size, condition)
    return best


@dataclass(frozen=True)
class MapIndex:
    """The index over a map in a JSON column.

    `subject` is the id of the row with the map. `inside` restricts the entries
    when candidates are collected, `seen` the entry of one row; by default not at all.
    With `sets` conditions do not look up the entry of each row, but compare with the
    set of all that match: faster where all rows are counted, slower for a page. Without
    `marks` every map inside is known to be indexed.
    """

    prefix: str
    subject: ColumnElement[Any]
    inside: ColumnElement[bool]
    seen: ColumnElement[bool] = field(default_factory=true)
    sets: bool = False
    marks: bool = True

    def candidates(self, comparison: Comparison) -> Candidates | None:
        """Rows with a matching entry, and rows whose map is too large for the index."""
        bound = None if comparison.operator == "!=" else _bound(self.prefix, comparison)
        if bound is None:
            return None
        found, marked = self._found(bound), self._marked()
        return Candidates(self.subject, select(union_all(found, marked).subquery().c.subject_id))

    def condition(self, comparison: Comparison, checked: ColumnElement[bool]) -> ColumnElement[bool] | None:
        """The condition by the index; by the map only if the index does not decide."""
        opposite = comparison.operator == "!="
        bound = _bound(self.prefix, comparison._replace(operator="=") if opposite else comparison)
        if bound is None:
            return None
        if self.sets:
            equal = comparison.operator != "!="
            return self._in_set(bound, checked if equal else not_(checked), equal=equal)
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

    def _in_set(self, bound: _Bound, checked: ColumnElement[bool], *, equal: bool) -> ColumnElement[bool]:
        found: ColumnElement[bool] = self.subject.in_(self._found(bound))
        if not bound.exact:
            found = and_(found, checked)
        if self.marks:
            found = or_(found, and_(self.subject.in_(self._marked()), checked))
        return found if equal else not_(found)

    def _found(self, bound: _Bound) -> Select[Any]:
        return select(Attribute.subject_id).where(self.inside, Attribute.key == bound.key, bound.condition)

    def _marked(self) -> Select[Any]:
        return marked(self.inside, self.prefix)


@dataclass(frozen=True)
class TagIndex:
    """The index over tags; attributes as in MapIndex."""

    key: str
    subject: ColumnElement[Any]
    inside: ColumnElement[bool]
    seen: ColumnElement[bool] = field(default_factory=true)
    sets: bool = False

    def candidates(self, comparison: Comparison) -> Candidates | None:
        """Rows with the tag."""
        return Candidates(
            self.subject, select(Attribute.subject_id).where(self.inside, *self._holds(comparison))
        )

    def condition(self, comparison: Comparison, checked: ColumnElement[bool]) -> ColumnElement[bool]:
        """The condition by the index, unless the text is too long for it."""
        if len(str(comparison.value)) >= attributes.TEXT_LIMIT:
            return checked
        if self.sets:
            found: ColumnElement[bool] = self.subject.in_(
                select(Attribute.subject_id).where(self.inside, *self._holds(comparison))
            )
            return found
        own = select(Attribute.key).where(
            Attribute.subject_id == self.subject, *self._holds(comparison), self.seen
        )
        return _beside(own, self.subject).is_not(None)

    def _holds(self, comparison: Comparison) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return Attribute.key == self.key, Attribute.text == str(comparison.value)[: attributes.TEXT_LIMIT]


@dataclass(frozen=True)
class NameIndex:
    """An index over names: `found` with a `name` selects the values of `column`."""

    column: ColumnElement[Any]
    found: Select[Any]
    name: ColumnElement[str]
    operator: str = "="

    def candidates(self, comparison: Comparison) -> Candidates | None:
        """Rows with exactly this name."""
        if comparison.operator != self.operator or not isinstance(comparison.value, str):
            return None
        return Candidates(self.column, self.found.where(self.name == comparison.value))

    def condition(self, comparison: Comparison, checked: ColumnElement[bool]) -> None:
        """Returns None: there is no cheaper condition."""


def marked(inside: ColumnElement[bool], *prefixes: str) -> Select[Any]:
    """Rows with a map that is too large for the index."""
    return select(Attribute.subject_id).where(inside, Attribute.key.in_(prefixes), Attribute.text == "")


def _beside(own: Select[Any], subject: ColumnElement[Any]) -> ScalarSelect[Any]:
    # A subquery with one row instead of EXISTS, which the database might turn into a join and start with.
    return own.limit(1).correlate(subject.table).scalar_subquery()


class _Bound(NamedTuple):
    """A condition on the index that every match fulfils; `exact` if only matches do."""

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
    # Texts that were cut and numbers that were rounded may be equal in the index only.
    below = column < kept if operator == "<" and exact else column <= kept
    above = column > kept if operator == ">" and exact else column >= kept
    return below if operator in ("<", "<=") else above  # type: ignore[no-any-return]  # of either column


def _count(session: Session, ids: Select[Any]) -> int:
    return session.scalar(select(func.count()).select_from(ids.limit(FEW + 1).subquery())) or 0
