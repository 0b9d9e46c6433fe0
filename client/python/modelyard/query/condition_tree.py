"""Parses filters written as nested dicts, in the style of document databases, to a tree.

`{"state": "finished", "summary_metrics.acc": {"$gt": 0.9}}` becomes `Every` of two comparisons.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_OPERATORS = {
    "$eq": "=",
    "$ne": "!=",
    "$gt": ">",
    "$gte": ">=",
    "$lt": "<",
    "$lte": "<=",
    "$contains": ":",
}
OPERATORS = (*_OPERATORS, "$in", "$nin", "$all", "$not", "$exists", "$regex", "$options")
LISTS = {"tags", "aliases", "source.tags"}
"""Fields that are lists of names, of which a condition means one element."""
ANY = object()
"""With the operator `:`, that there is a value."""


@dataclass(frozen=True)
class Comparison:
    """A field with the keys behind its name, compared by `=`, `!=`, `<`, `<=`, `>`, `>=`, `:` or `~`.

    `:` finds an element of a list or a part of a text; with `ANY`, any value. The operand
    of `~` is a compiled pattern.
    """

    field: tuple[str, ...]
    operator: str
    operand: Any


@dataclass(frozen=True)
class Every:
    """All parts match."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Some:
    """At least one part matches."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """The part does not match."""

    part: Node


Node = Comparison | Every | Some | Not


def comparisons(node: Node) -> Iterator[Comparison]:
    """The comparisons of a tree."""
    if isinstance(node, Comparison):
        yield node
    else:
        for part in (node.part,) if isinstance(node, Not) else node.parts:
            yield from comparisons(part)


def parse(condition: Mapping[str, Any], names: Mapping[str, str]) -> Every:
    """The tree of a filter; `names` maps names of fields to the server's. ValueError for what is unknown."""
    return Every(tuple(_parts(condition, names)))


def field_of(name: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """A field's name and its keys: `summary_metrics.acc` is `summary`, `acc`.

    `config.lr.value` is the same as `config.lr`.
    """
    first, *keys = name.split(".")
    if first == "config" and keys[-1:] == ["value"] and len(keys) > 1:
        keys = keys[:-1]
    return (names.get(first, first), *keys)


def _parts(condition: Any, names: Mapping[str, str]) -> Iterator[Node]:
    if not isinstance(condition, Mapping):
        raise ValueError(f"a filter is a dict, not {condition!r}")
    for key, value in condition.items():
        if key in {"$and", "$or", "$nor"}:
            yield from _joined(key, _items(key, value), names)
        elif key == "$not":
            yield Not(parse(value, names))
        elif key.startswith("$"):
            hint = f": it goes below a field, as in {{'tags': {{'{key}': …}}}}" if key in OPERATORS else ""
            raise ValueError(f"a filter has no {key}{hint}")
        else:
            yield from _compared(field_of(key, names), value)


def _joined(key: str, conditions: Sequence[Any], names: Mapping[str, str]) -> Iterator[Node]:
    parts = tuple(_single(parse(each, names)) for each in conditions)
    if Every(()) in parts:
        raise ValueError(f"{key}: an empty filter matches everything")
    if key == "$and":
        yield from parts
    else:
        yield Not(Some(parts)) if key == "$nor" else Some(parts)


def _single(node: Every) -> Node:
    return node.parts[0] if len(node.parts) == 1 else node


def _compared(field: tuple[str, ...], value: Any) -> Iterator[Node]:
    if not isinstance(value, Mapping):
        yield _equal(field, value)
        return
    for operator, operand in value.items():
        if operator == "$regex":
            yield Comparison(field, "~", _pattern(field, operand, value.get("$options", "")))
        elif operator != "$options" or "$regex" not in value:
            yield from _operation(field, operator, operand)


def _operation(field: tuple[str, ...], operator: str, operand: Any) -> Iterator[Node]:
    name = ".".join(field)
    if operator in {"$in", "$nin"}:
        found = Some(tuple(_equal(field, each) for each in _items(f"{name}: {operator}", operand)))
        yield found if operator == "$in" else Not(found)
    elif operator == "$all":
        for each in _items(f"{name}: {operator}", operand):
            yield Comparison(field, ":", each)
    elif operator == "$not":
        yield Not(_single(Every(tuple(_compared(field, operand)))))
    elif operator == "$exists":
        there = Comparison(field, ":", ANY)
        yield there if operand else Not(there)
    elif operator in {"$eq", "$ne"} and field[0] in LISTS:
        yield _equal(field, operand) if operator == "$eq" else Not(_equal(field, operand))
    elif operator in _OPERATORS:
        yield Comparison(field, _OPERATORS[operator], operand)
    else:
        raise ValueError(f"{name}: a filter has no {operator}; known: {', '.join(OPERATORS)}")


def _equal(field: tuple[str, ...], value: Any) -> Node:
    return Comparison(field, ":" if field[0] in LISTS and isinstance(value, str) else "=", value)


def _items(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence | set | frozenset):
        raise ValueError(f"{name} needs a list, not {value!r}")
    if not value:
        raise ValueError(f"{name} needs something to choose from")
    return tuple(value)


def _pattern(field: tuple[str, ...], pattern: Any, options: Any) -> re.Pattern[str]:
    if isinstance(pattern, re.Pattern):
        return pattern
    flags = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
    unknown = set(str(options)) - set(flags)
    if unknown:
        raise ValueError(f"{'.'.join(field)}: $options has no {''.join(sorted(unknown))}; known: imsx")
    try:
        return re.compile(pattern, sum(flags[each] for each in set(options)))
    except (re.error, TypeError) as error:
        raise ValueError(f"{'.'.join(field)}: {pattern!r} is no pattern: {error}") from None
