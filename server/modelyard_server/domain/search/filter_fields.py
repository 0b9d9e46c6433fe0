"""The kinds of fields of filters, with their conditions on both databases."""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import eq, ge, gt, le, lt, ne
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

from sqlalchemy import BigInteger, ColumnElement, Double, Select, String, false, func, literal, not_
from sqlalchemy import Text as SqlText
from sqlalchemy.orm import InstrumentedAttribute

from modelyard_server.domain.search.filter_json import JsonNode, json_node


class Wildcard(enum.Enum):
    """The value `*`."""

    ANY = "*"


ANY = Wildcard.ANY
Literal: TypeAlias = str | int | Decimal | bool | Wildcard

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
OPERATORS = (*_COMPARE, ":")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Comparison(NamedTuple):
    """`path` is the keys behind the field's name; `dialect` the database's name in SQLAlchemy."""

    dialect: str
    path: tuple[str, ...]
    operator: str
    value: Literal


class Candidates(NamedTuple):
    """The rows of a comparison by an index: their `column` is among `ids`."""

    column: ColumnElement[Any]
    ids: Select[Any]


class FieldIndex(Protocol):
    """An index over a field. Its methods return None for comparisons that it does not support."""

    def candidates(self, comparison: Comparison) -> Candidates | None:
        """The rows that the comparison can match."""

    def condition(self, comparison: Comparison, checked: ColumnElement[bool]) -> ColumnElement[bool] | None:
        """A cheaper equivalent of `checked`, the condition of the field itself."""


class Field(Protocol):
    """A kind of field. `condition` raises ValueError for an invalid value."""

    @property
    def operators(self) -> frozenset[str]:
        """The operators it supports."""

    @property
    def has_keys(self) -> bool:
        """Whether keys follow its name."""

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        """The condition in SQL."""


@dataclass(frozen=True)
class Indexed:
    """A field that has an index."""

    field: Field
    index: FieldIndex

    @property
    def operators(self) -> frozenset[str]:
        """The operators of the field."""
        return self.field.operators

    @property
    def has_keys(self) -> bool:
        """As for the field."""
        return self.field.has_keys

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        """The condition of the index if it covers the comparison, else of the field."""
        checked = self.field.condition(comparison)
        known = self.index.condition(comparison, checked)
        return checked if known is None else known


@dataclass(frozen=True)
class Group:
    """Fields below a name: `run.config.lr` is the field `config` of `run`."""

    fields: Mapping[str, Field]


@dataclass(frozen=True)
class Of:
    """A field of a related row, such as a version's run: `of` selects its value for each row.

    Without a related row a comparison is false, and `!=` is true.
    """

    field: Field
    of: Callable[[ColumnElement[bool]], ColumnElement[bool]]

    @property
    def operators(self) -> frozenset[str]:
        """The operators of the field."""
        return self.field.operators

    @property
    def has_keys(self) -> bool:
        """As for the field."""
        return self.field.has_keys

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        """The condition of the field in the related row."""
        if comparison.operator == "!=":
            return not_(self.condition(comparison._replace(operator="=")))
        return func.coalesce(self.of(self.field.condition(comparison)), false())


@dataclass(frozen=True)
class Text:
    """Text; `:` matches a substring, ignoring case."""

    column: InstrumentedAttribute[str] | ColumnElement[str]
    operators: ClassVar[frozenset[str]] = frozenset(OPERATORS)
    has_keys: ClassVar[bool] = False

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        if comparison.value is ANY and comparison.operator == ":":
            return self.column != ""
        text = _expect_text(comparison.value)
        if comparison.operator == ":":
            return self.column.icontains(text, autoescape=True)
        return _apply(comparison.operator, self.column, literal(text, String()))


@dataclass(frozen=True)
class Word:
    """One of a fixed set of words, as in an enum of the protos.

    A filter may write the value as in the protos, `RUN_STATE_FAILED`, or without
    the prefix, `failed`, in upper or lower case.
    """

    column: ColumnElement[str] | InstrumentedAttribute[str]
    words: Sequence[str]
    """As stored: lower case, without the prefix."""
    prefix: str
    """`RUN_STATE_`."""
    operators: ClassVar[frozenset[str]] = frozenset({"=", "!="})
    has_keys: ClassVar[bool] = False

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        equal = self.equals(self.word(comparison))
        return equal if comparison.operator == "=" else not_(equal)

    def word(self, comparison: Comparison) -> str:
        """The word of a comparison, as stored. Raises ValueError."""
        text = _expect_text(comparison.value)
        word = text.removeprefix(self.prefix).lower()
        if word not in self.words:
            raise ValueError(f"{text[:100]!r} is not one of {', '.join(self.words)}")
        return word

    def equals(self, word: str) -> ColumnElement[bool]:
        """The condition that the row has this word."""
        return func.coalesce(self.column == literal(word, String()), false())


@dataclass(frozen=True)
class Number:
    """A whole number."""

    column: InstrumentedAttribute[int]
    operators: ClassVar[frozenset[str]] = frozenset(_COMPARE)
    has_keys: ClassVar[bool] = False

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        return _apply(comparison.operator, self.column, _number(comparison.value))


@dataclass(frozen=True)
class Time:
    """A time, written as in RFC 3339; kept as microseconds since 1970."""

    column: InstrumentedAttribute[int] | InstrumentedAttribute[int | None]
    operators: ClassVar[frozenset[str]] = frozenset(_COMPARE)
    has_keys: ClassVar[bool] = False

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        micros = literal(_micros(_expect_text(comparison.value)), BigInteger())
        return _apply(comparison.operator, self.column, micros)


@dataclass(frozen=True)
class Digest:
    """32 raw bytes, written as 64 hex digits."""

    column: InstrumentedAttribute[bytes]
    operators: ClassVar[frozenset[str]] = frozenset({"=", "!="})
    has_keys: ClassVar[bool] = False

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        text = _expect_text(comparison.value)
        if not re.fullmatch("[0-9a-f]{64}", text):
            raise ValueError("expected 64 lower-case hex digits")
        return _apply(comparison.operator, self.column, literal(bytes.fromhex(text), self.column.type))


@dataclass(frozen=True)
class Has:
    """Names of a row in other tables, such as aliases; `:` tests whether one of them is the value."""

    holds: Callable[[str], ColumnElement[bool]]
    operators: ClassVar[frozenset[str]] = frozenset({":"})
    has_keys: ClassVar[bool] = False

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        return self.holds(_expect_text(comparison.value))


@dataclass(frozen=True)
class TagList:
    """A JSON list of texts, such as tags; `:` tests whether the value is an element."""

    column: InstrumentedAttribute[list[str]]
    operators: ClassVar[frozenset[str]] = frozenset({":"})
    has_keys: ClassVar[bool] = False

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        text = _expect_text(comparison.value)
        return json_node(comparison.dialect, self.column, ()).holds(text)


@dataclass(frozen=True)
class Json:
    """A JSON map: keys lead to a value, which only matches values of the same type.

    `:` matches a substring of a text, or an element of a list; `: *` tests whether
    there is a value.
    """

    column: InstrumentedAttribute[dict[str, Any]]
    operators: ClassVar[frozenset[str]] = frozenset(OPERATORS)
    has_keys: ClassVar[bool] = True

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        node = json_node(comparison.dialect, self.column, comparison.path)
        operator, value = comparison.operator, comparison.value
        if operator == "!=":
            return not_(self.condition(comparison._replace(operator="=")))
        if value is ANY:
            return node.exists()
        if operator == ":":
            return _json_holds(node, _expect_text(value))
        compare = _COMPARE[operator]
        if isinstance(value, bool):
            if operator != "=":
                raise ValueError("true and false can be compared only by = and !=")
            return node.when("bool", node.is_true() if value else not_(node.is_true()))
        if isinstance(value, str):
            return node.when("text", compare(node.ordered_text(), literal(value, SqlText())))
        return node.when("number", compare(node.number(), node.bind(_check_number(value))))


def _json_holds(node: JsonNode, text: str) -> ColumnElement[bool]:
    found = node.text().icontains(text, autoescape=True)
    return node.when("text", found) | node.when("list", node.holds(text))


def _apply(operator: str, left: Any, right: Any) -> ColumnElement[bool]:
    compared: ColumnElement[bool] = _COMPARE[operator](left, right)
    return compared


def _expect_text(value: Literal) -> str:
    if not isinstance(value, str):
        raise ValueError("expected text in quotes")
    return value


def _check_number(value: Literal) -> int | Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("expected a number")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError("does not fit 64 bits")
    if isinstance(value, Decimal) and value and abs(value.adjusted()) > 300:
        raise ValueError("is too large or too small")
    return value


def _number(value: Literal) -> ColumnElement[Any]:
    number = _check_number(value)
    if isinstance(number, int):
        return literal(number, BigInteger())
    return literal(float(number), Double())


def _micros(text: str) -> int:
    if not _RFC_3339.fullmatch(text):
        raise ValueError("expected a time such as 2026-01-31T12:00:00Z")
    # Python and the database keep microseconds.
    time = dt.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.upper()))
    return (time - _EPOCH) // dt.timedelta(microseconds=1)
