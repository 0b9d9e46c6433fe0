"""Checks and sorts runs in the client, by the rules of the server.

A comparison with a missing value, or with one of another kind, is false.
"""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from modelyard.query import condition_tree as tree
from modelyard.query.conditions import as_time
from modelyard.rpc.records import RunRecord

_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MISSING = object()
_NUMBER, _TEXT, _LIST, _BOOLEAN, _OTHER = range(5)
_KINDS = ((bool, _BOOLEAN), ((int, float, datetime.datetime), _NUMBER), (str, _TEXT), ((list, tuple), _LIST))


def matches(node: tree.Node, run: RunRecord) -> bool:
    """Whether a run matches a tree of conditions."""
    if isinstance(node, tree.Comparison):
        return _compare(_value(run, node.field), node)
    if isinstance(node, tree.Not):
        return not matches(node.part, run)
    found = (matches(part, run) for part in node.parts)
    return all(found) if isinstance(node, tree.Every) else any(found)


def _value(run: RunRecord, field: tuple[str, ...]) -> Any:
    first, *keys = field
    value: Any = run.run_id if first == "name" else getattr(run, first)
    for key in keys:
        value = value.get(key, _MISSING) if isinstance(value, Mapping) else _MISSING
    return value


def _compare(value: Any, node: tree.Comparison) -> bool:
    operand = node.operand
    if operand is tree.ANY:
        return value is not _MISSING and value not in ("", (), None)
    if node.operator == "!=":
        return not _compare(value, tree.Comparison(node.field, "=", operand))
    if operand is None:
        return value is _MISSING or value in (None, "", ())
    if node.operator == "~":
        texts = value if isinstance(value, tuple) else (value,)  # tags: any of them
        return any(isinstance(text, str) and operand.search(text) for text in texts)
    if node.operator == ":":
        return _contains(value, operand)
    if isinstance(value, datetime.datetime):
        operand = as_time(node.field[0], operand)
    if _kind(value) != _kind(operand):
        return False
    if node.operator == "=":
        return bool(list(value) == list(operand) if isinstance(value, list | tuple) else value == operand)
    return _kind(value) in {_NUMBER, _TEXT} and bool(_COMPARE[node.operator](value, operand))


def _contains(value: Any, operand: Any) -> bool:
    if isinstance(value, str):
        return isinstance(operand, str) and operand.lower() in value.lower()
    return isinstance(value, list | tuple) and operand in value


def _kind(value: Any) -> int:
    return next((kind for types, kind in _KINDS if isinstance(value, types)), _OTHER)


def ordered(runs: Iterable[RunRecord], field: tuple[str, ...], descending: bool) -> list[RunRecord]:
    """Runs by a field: numbers and times first, then texts; those without a value last either way."""
    kinds: dict[int, list[tuple[Any, RunRecord]]] = {_NUMBER: [], _TEXT: [], _OTHER: []}
    for run in runs:
        value = _value(run, field)
        known = _kind(value) in {_NUMBER, _TEXT} and value == value  # NaN has no place in an order
        kinds[_kind(value) if known else _OTHER].append((value, run))
    for kind in (_NUMBER, _TEXT):
        kinds[kind].sort(key=lambda item: item[0], reverse=descending)
    return [run for items in kinds.values() for _, run in items]
