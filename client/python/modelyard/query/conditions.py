"""Converts filters and orders of Python callers to the text that the server takes.

A filter is that text already, or nested dicts in the style of document databases:
`{"state": "finished", "summary_metrics.acc": {"$gt": 0.9}}`.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from modelyard.query import condition_tree as tree

Condition = str | Mapping[str, Any] | None

_FIELDS = {
    "created_at": "create_time",
    "createdAt": "create_time",
    "updated_at": "update_time",
    "updatedAt": "update_time",
    "displayName": "display_name",
    "name": "name",
    "jobType": "job_type",
    "username": "created_by",
    "tag": "tags",
    "alias": "aliases",
    "summary_metrics": "summary",
    "version_index": "number",
    "versionIndex": "number",
}
OF_LINKS: Mapping[str, str] = {
    "tag": "source.tags",
    "tags": "source.tags",
    "type": "source.type",
    "metadata": "source.metadata",
}
"""Further names in filters of links, whose tags, type and metadata are the source version's."""
_TIMES = {"create_time", "update_time"}
_WORD = re.compile(r"[\w/-]+")
_PLAIN_PATTERN = re.compile(r"[\w\s/:@-]*")


class NoFilterText(ValueError):
    """The server's language has no expression for this."""


def as_filter(condition: Condition, names: Mapping[str, str] | None = None) -> str:
    """The server's filter; `names` are further names of its fields. ValueError for what it cannot express."""
    if condition is None or isinstance(condition, str):
        return condition or ""
    return filter_text(parse(condition, names))


def parse(condition: Mapping[str, Any], names: Mapping[str, str] | None = None) -> tree.Every:
    """A filter of nested dicts as a tree. ValueError for operators that do not exist."""
    return tree.parse(condition, {**_FIELDS, **(names or {})})


def filter_text(node: tree.Node) -> str:
    """A tree as text. NoFilterText for what the server cannot express."""
    if isinstance(node, tree.Comparison):
        return _comparison(node)
    if isinstance(node, tree.Not):
        inner = filter_text(node.part)
        alone = isinstance(node.part, tree.Comparison | tree.Not)
        return f"NOT {inner}" if alone else f"NOT ({inner})"
    word = " AND " if isinstance(node, tree.Every) else " OR "
    return word.join(_part(part) for part in node.parts)


def _part(node: tree.Node) -> str:
    """A part of AND or OR, in parentheses where it has AND or OR itself."""
    text = filter_text(node)
    return f"({text})" if isinstance(node, tree.Every | tree.Some) and len(node.parts) > 1 else text


def both(*conditions: str) -> str:
    """The filter for what matches all of several filters."""
    given = [condition for condition in conditions if condition.strip()]
    return given[0] if len(given) == 1 else " AND ".join(f"({condition})" for condition in given)


def as_order(order: str | None) -> str:
    """The server's order: `-created_at` becomes `create_time desc`; the server's own form stays as it is."""
    single = order_field(order or "")
    if single is None:
        return (order or "").strip()
    field, descending = single
    return field_text(field) + (" desc" if descending else "")


def order_field(order: str, names: Mapping[str, str] | None = None) -> tuple[tuple[str, ...], bool] | None:
    """The field of an order and whether it descends; None for several fields, quoted keys or no order."""
    text = order.strip()
    if text[:1] in {"+", "-"}:
        name, descending = text[1:], text[0] == "-"
    elif not text or "," in text or '"' in text:
        return None
    else:
        name, descending = text.removesuffix(" desc").removesuffix(" asc"), text.endswith(" desc")
    return tree.field_of(name.strip(), {**_FIELDS, **(names or {})}), descending


def quoted(text: str) -> str:
    """A text as a quoted string of a filter."""
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'


def _comparison(node: tree.Comparison) -> str:
    name = field_text(node.field)
    if node.operand is tree.ANY:
        return f"{name} : *"
    if node.operator == "~":
        return _pattern(name, node.operand)
    value = node.operand
    if node.field[0] in _TIMES and isinstance(value, str | datetime.date):
        value = as_time(name, value)
    return f"{name} {node.operator} {_value(value)}"


def _pattern(name: str, pattern: re.Pattern[str]) -> str:
    text = pattern.pattern
    core = text.removeprefix(".*").removesuffix(".*")
    if pattern.flags & ~re.UNICODE:
        core = "["
    if core.startswith("^") and core.endswith("$") and _PLAIN_PATTERN.fullmatch(core[1:-1]):
        return f"{name} = {_value(core[1:-1])}"
    if not _PLAIN_PATTERN.fullmatch(core):
        raise NoFilterText(
            f"{name}: {text!r}: patterns find a plain text; use '^text$', 'text' or '.*text.*'"
        )
    return f"{name} : {_value(core)}"


def as_time(name: str, value: str | datetime.date) -> datetime.datetime:
    """A time as scripts give it: a datetime, a date, or ISO text, in UTC where it names no zone."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC)
    try:
        time = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{name}: {value!r} is no time; write it as 2026-01-31T12:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)


def field_text(field: tuple[str, ...]) -> str:
    """A field with its keys, as filters and orders name it."""
    first, *keys = field
    return ".".join([first, *(key if _WORD.fullmatch(key) else quoted(key) for key in keys)])


def _value(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return quoted(value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z"))
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return json.dumps(value)
    raise NoFilterText(f"a filter cannot compare with {value!r}")
