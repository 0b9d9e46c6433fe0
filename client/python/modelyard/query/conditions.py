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

Condition = str | Mapping[str, Any] | None

_OPERATORS = {
    "$eq": "=",
    "$ne": "!=",
    "$gt": ">",
    "$gte": ">=",
    "$lt": "<",
    "$lte": "<=",
    "$contains": ":",
}
_FIELDS = {
    "created_at": "create_time",
    "createdAt": "create_time",
    "updated_at": "update_time",
    "updatedAt": "update_time",
    "heartbeatAt": "update_time",
    "displayName": "display_name",
    "name": "name",
    "jobType": "job_type",
    "username": "created_by",
    "tag": "tags",
    "alias": "aliases",
    "summary_metrics": "summary",
}
OF_RUNS: Mapping[str, str] = {"run_id": "name"}
"""Further names of fields in filters of runs."""
OF_LINKS: Mapping[str, str] = {
    "tag": "source.tags",
    "tags": "source.tags",
    "type": "source.type",
    "metadata": "source.metadata",
}
"""Further names in filters of links, whose tags, type and metadata are the source version's."""
_LISTS = {"tags", "aliases", "source.tags"}
_WORD = re.compile(r"[\w/-]+")
_PLAIN_PATTERN = re.compile(r"[\w\s/:@-]*")


def as_filter(condition: Condition, names: Mapping[str, str] | None = None) -> str:
    """The server's filter; `names` are further names of its fields. ValueError for what it cannot express."""
    if condition is None or isinstance(condition, str):
        return condition or ""
    return _all(condition, {**_FIELDS, **(names or {})})


def both(*conditions: str) -> str:
    """The filter for what matches all of several filters."""
    given = [condition for condition in conditions if condition.strip()]
    return given[0] if len(given) == 1 else " AND ".join(f"({condition})" for condition in given)


def as_order(order: str | None) -> str:
    """The server's order: `-created_at` becomes `create_time desc`; the server's own form stays as it is."""
    if not order:
        return ""
    field, _, direction = order.strip().partition(" ")
    sign = field[0] if field[0] in "+-" else ""
    name = _field(field.removeprefix(sign), _FIELDS)
    if sign == "-":
        return f"{name} desc"
    return f"{name} {direction}".strip()


def quoted(text: str) -> str:
    """A text as a quoted string of a filter."""
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'


def _all(condition: Mapping[str, Any], names: Mapping[str, str]) -> str:
    parts = []
    for key, value in condition.items():
        if key in {"$and", "$or", "$nor"}:
            word = " AND " if key == "$and" else " OR "
            inner = word.join(f"({_all(each, names)})" for each in value)
            parts.append(f"NOT ({inner})" if key == "$nor" else f"({inner})")
        elif key == "$not":
            parts.append(f"NOT ({_all(value, names)})")
        elif key.startswith("$"):
            raise ValueError(f"a filter has no {key}")
        else:
            parts.append(_compare(_field(key, names), value))
    return " AND ".join(parts)


def _compare(field: str, value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"{field} {':' if field in _LISTS else '='} {_value(value)}"
    return " AND ".join(_operation(field, operator, operand) for operator, operand in value.items())


def _operation(field: str, operator: str, operand: Any) -> str:
    if operator in {"$in", "$nin"}:
        inner = " OR ".join(_compare(field, each) for each in operand)
        if not inner:
            raise ValueError(f"{field}: {operator} needs something to choose from")
        return f"NOT ({inner})" if operator == "$nin" else f"({inner})"
    if operator == "$not":
        return f"NOT ({_compare(field, operand)})"
    if operator == "$exists":
        return f"{field} : *" if operand else f"NOT {field} : *"
    if operator == "$regex":
        return _pattern(field, operand)
    if operator not in _OPERATORS:
        raise ValueError(f"{field}: a filter has no {operator}; known: {', '.join(sorted(_OPERATORS))}")
    if field in _LISTS and operator in {"$eq", "$ne"}:
        return f"{'NOT ' if operator == '$ne' else ''}{field} : {_value(operand)}"
    return f"{field} {_OPERATORS[operator]} {_value(operand)}"


def _pattern(field: str, pattern: str) -> str:
    core = pattern.removeprefix(".*").removesuffix(".*")
    if pattern.startswith("^") and pattern.endswith("$") and _PLAIN_PATTERN.fullmatch(pattern[1:-1]):
        return f"{field} = {_value(pattern[1:-1])}"
    if not _PLAIN_PATTERN.fullmatch(core):
        raise ValueError(
            f"{field}: {pattern!r}: patterns find a plain text; use '^text$', 'text' or '.*text.*'"
        )
    return f"{field} : {_value(core)}"


def _field(name: str, names: Mapping[str, str]) -> str:
    first, *keys = name.split(".")
    if first == "config" and keys[-1:] == ["value"] and len(keys) > 1:
        keys = keys[:-1]
    return ".".join(
        [names.get(first, first), *(key if _WORD.fullmatch(key) else quoted(key) for key in keys)]
    )


def _value(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return quoted(value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z"))
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return json.dumps(value)
    raise ValueError(f"a filter cannot compare with {value!r}")
