"""Values inside a JSON column, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Numeric,
    Text,
    case,
    cast,
    false,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB


class JsonNode(Protocol):
    """A value at a path, which may be missing. Use the getters inside `when`."""

    def when(self, kind: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """The condition if the value is a `text`, `number`, `bool` or `list`.

        Otherwise false, without evaluating it.
        """

    def exists(self) -> ColumnElement[bool]:
        """Whether there is a value, null included."""

    def text(self) -> ColumnElement[str]:
        """The text of a `text`."""

    def ordered_text(self) -> ColumnElement[str]:
        """The text in the order of its code points."""

    def number(self) -> ColumnElement[Any]:
        """The number of a `number`."""

    def bind(self, number: int | Decimal) -> ColumnElement[Any]:
        """A number to compare with `number`."""

    def is_true(self) -> ColumnElement[bool]:
        """The value of a `bool`."""

    def holds(self, text: str) -> ColumnElement[bool]:
        """Whether a list has the text as an element."""


def json_node(dialect: str, column: Any, path: Sequence[str]) -> JsonNode:
    """The value at a path of keys in a JSON column; the column itself for no path."""
    return _Sqlite(column, path) if dialect == "sqlite" else _Postgresql(column, path)


class _Postgresql:
    kinds: Mapping[str, str] = {"text": "string", "number": "number", "bool": "boolean", "list": "array"}

    def __init__(self, column: Any, path: Sequence[str]) -> None:
        keys = literal(list(path), ARRAY(Text))
        self._node: ColumnElement[Any] = cast(column, JSONB).op("#>", return_type=JSONB())(keys)

    def when(self, kind: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        # CASE, since AND guarantees no order: a text must never be cast to a number.
        return case((func.jsonb_typeof(self._node) == self.kinds[kind], condition), else_=false())

    def exists(self) -> ColumnElement[bool]:
        return self._node.is_not(None)

    def text(self) -> ColumnElement[str]:
        return self._node.op("#>>", return_type=Text())(literal([], ARRAY(Text)))

    def ordered_text(self) -> ColumnElement[str]:
        # The order of code points, as on SQLite, whatever the collation of the database.
        return self.text().collate("C")

    def number(self) -> ColumnElement[Any]:
        return cast(self.text(), Numeric)

    def bind(self, number: int | Decimal) -> ColumnElement[Any]:
        # A fraction is rounded to a double, as in JSON and on SQLite.
        return literal(Decimal(number if isinstance(number, int) else repr(float(number))), Numeric())

    def is_true(self) -> ColumnElement[bool]:
        return self.text() == "true"

    def holds(self, text: str) -> ColumnElement[bool]:
        # The operator matches keys of maps too, so it is used on lists only.
        found: ColumnElement[bool] = func.jsonb_exists(self._node, literal(text, Text()))
        return self.when("list", found)


class _Sqlite:
    kinds: Mapping[str, tuple[str, ...]] = {
        "text": ("text",),
        "number": ("integer", "real"),
        "bool": ("true", "false"),
        "list": ("array",),
    }
    _simple_key = re.compile(r"[ !#-\[\]-~]+")

    def __init__(self, column: Any, path: Sequence[str]) -> None:
        self._type: ColumnElement[str]
        self._value: ColumnElement[Any]
        if all(self._simple_key.fullmatch(key) for key in path):
            place = literal("$" + "".join(f'."{key}"' for key in path), Text())
            self._type, self._value = func.json_type(column, place), func.json_extract(column, place)
        else:
            # A path cannot contain `"` or `\`, and does not match escaped letters; json_each decodes keys.
            self._type, self._value = self._walk(column, path)

    def when(self, kind: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        return case((self._type.in_(self.kinds[kind]), condition), else_=false())

    def exists(self) -> ColumnElement[bool]:
        return self._type.is_not(None)

    def text(self) -> ColumnElement[str]:
        return cast(self._value, Text)

    def ordered_text(self) -> ColumnElement[str]:
        return self.text()

    def number(self) -> ColumnElement[Any]:
        return self._value

    def bind(self, number: int | Decimal) -> ColumnElement[Any]:
        return literal(number, BigInteger()) if isinstance(number, int) else literal(float(number), Double())

    def is_true(self) -> ColumnElement[bool]:
        return self._type == "true"

    def holds(self, text: str) -> ColumnElement[bool]:
        items = func.json_each(case((self._type == "array", self._value))).table_valued("value", "type")
        return select(items.c.value).where(items.c.value == text, items.c.type == "text").exists()

    @staticmethod
    def _walk(column: Any, path: Sequence[str]) -> tuple[Any, Any]:
        for key in path[:-1]:
            each = func.json_each(column).table_valued("key", "value", "type")
            inner = case((each.c.type == "object", each.c.value))
            column = select(inner).where(each.c.key == key).scalar_subquery()
        each = func.json_each(column).table_valued("key", "value", "type")
        of_key = each.c.key == path[-1]
        return tuple(select(part).where(of_key).scalar_subquery() for part in (each.c.type, each.c.value))  # type: ignore[return-value] # a generator's length is not known
