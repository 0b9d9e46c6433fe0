"""Divides filters and orders of runs between the server and the client.

The server takes what its language has; the rest, such as regular expressions, is
checked on the runs that it returns (`run_matching`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from modelyard.contract.values import RUN_STATES
from modelyard.query import condition_tree as tree
from modelyard.query import conditions, run_matching
from modelyard.query.conditions import Condition, NoFilterText
from modelyard.rpc.records import RunRecord

OF_RUNS: Mapping[str, str] = {
    "description": "notes",
    "heartbeatAt": "heartbeat_time",
    "heartbeat_at": "heartbeat_time",
    "lastHistoryStep": "last_step",
    "run_id": "name",
    "user": "created_by",
}
"""Further names of fields in filters and orders of runs."""
_WORDS = {"name", "display_name", "group", "job_type", "created_by"}
_TIMES = {"create_time", "update_time"}
_MAPS = {"config", "summary"}
_HERE_ONLY = {"notes", "heartbeat_time", "finish_time", "exit_code", "last_step", "metadata"}
_FIELDS = {*_WORDS, *_TIMES, *_MAPS, *_HERE_ONLY, "state", "tags"}
_LENGTH_LIMIT, _COMPARISON_LIMIT = 4096, 100  # of a filter, at the server


class RunFilter(NamedTuple):
    """A filter of runs: text for the server, and what is checked of the runs that it returns."""

    text: str
    checks: tuple[tree.Node, ...] = ()

    def matches(self, run: RunRecord) -> bool:
        """Whether a run passes the checks."""
        return all(run_matching.matches(check, run) for check in self.checks)


class RunOrder(NamedTuple):
    """An order of runs: text for the server, and its field, if it is a single one."""

    text: str
    field: tuple[str, ...] | None
    descending: bool = False

    @property
    def server_lacks_it(self) -> bool:
        """Whether no server has this order."""
        return self.field is not None and self.field[0] in _HERE_ONLY


def run_filter(condition: Condition) -> RunFilter:
    """Divides a filter. ValueError for fields, operators and values that runs do not have."""
    if condition is None or isinstance(condition, str):
        return RunFilter(condition or "")
    texts: list[tuple[str, tree.Node | None]] = []
    checks = []
    for part in conditions.parse(condition, OF_RUNS).parts:
        for each in tree.comparisons(part):
            _check(each)
        try:
            texts.append((_server_text(part), part))
        except NoFilterText:
            checks.append(part)
            texts.extend((text, None) for text in _wider(part))
    # A filter at the server is limited: a list of a thousand names is checked here.
    texts.sort(key=lambda item: len(item[0]))
    while texts and _is_too_long([text for text, _ in texts]):
        _, part_or_none = texts.pop()
        checks.extend([part_or_none] if part_or_none else [])
    return RunFilter(" AND ".join(text for text, _ in texts), tuple(checks))


def run_order(order: str | None) -> RunOrder:
    """Reads an order; without one the oldest come first, as in W&B. ValueError for an unknown field."""
    single = conditions.order_field(order or "+created_at", OF_RUNS)
    if single is None:
        return RunOrder((order or "").strip(), None)
    field, descending = single
    _check_field(field)
    return RunOrder(conditions.field_text(field) + (" desc" if descending else ""), field, descending)


def _check(node: tree.Comparison) -> None:
    """Raises ValueError for what no run can match, so that a typing error is not an empty result."""
    _check_field(node.field)
    name, value = conditions.field_text(node.field), node.operand
    if value is tree.ANY or value is None or node.operator == "~":
        return
    if node.field[0] in {"create_time", "update_time", "heartbeat_time", "finish_time"}:
        conditions.as_time(name, value)
    elif node.field[0] == "state" and value not in RUN_STATES:
        raise ValueError(f"state: {value!r} is not one of {', '.join(RUN_STATES)}")
    elif node.field[0] in {*_WORDS, "notes"} and not isinstance(value, str):
        raise ValueError(f"{name}: compared with {value!r}, but it is a text")


def _check_field(field: tuple[str, ...]) -> None:
    first, *keys = field
    if first not in _FIELDS:
        known = "created_at, heartbeat_at, config.KEY, summary_metrics.KEY"
        others = ", ".join(sorted({*_WORDS, *_HERE_ONLY, "state", "tags"} - {"heartbeat_time", "metadata"}))
        raise ValueError(f"runs have no field {'.'.join(field)!r}; known: {known}, metadata.KEY, {others}")
    if (first in {*_MAPS, "metadata"}) != bool(keys):
        raise ValueError(f"{first} needs a key, as in {first}.lr" if not keys else f"{first} has no keys")


def _server_text(node: tree.Node) -> str:
    """The text of a tree. NoFilterText if the server would refuse it, or match other runs."""
    if not all(_on_server(each) for each in tree.comparisons(node)):
        raise NoFilterText
    text = conditions.filter_text(node)
    return f"({text})" if isinstance(node, tree.Some) else text


def _on_server(node: tree.Comparison) -> bool:
    first, value = node.field[0], node.operand
    if value is tree.ANY:
        return first in {*_WORDS, *_MAPS}
    if node.operator == "~":  # `:` would ignore case
        plain = not value.flags & ~re.UNICODE and re.fullmatch(r"\^[\w\s/:@-]*\$", value.pattern)
        return bool(plain) and first in {*_WORDS, *_MAPS}
    if first == "state":
        return node.operator in {"=", "!="} and value is not None
    if first in _TIMES:
        return node.operator != ":"
    if first == "tags":
        return node.operator == ":"
    return first in {*_WORDS, *_MAPS}


def _wider(node: tree.Node) -> Iterator[str]:
    """Conditions that the server has, and that every matching run meets."""
    if not isinstance(node, tree.Comparison) or node.field[0] not in {*_WORDS, *_MAPS}:
        return
    name = conditions.field_text(node.field)
    if node.operator == "~" and (literal := _literal(node.operand)):
        yield f"{name} : {conditions.quoted(literal)}"
    elif node.operator == "!=" and node.operand is None:
        yield f"{name} : *"


def _literal(pattern: re.Pattern[str]) -> str:
    """The longest text that certainly occurs where a simple pattern matches; else empty."""
    text = pattern.pattern
    if pattern.flags & ~re.UNICODE or re.search(r"[|()\[\]\\\0]", text):
        return ""
    certain = re.sub(r".([*?]|\{[^}]*\})", "\0", text, flags=re.DOTALL)
    return max(re.split(r"[.^$+*?{}\0]", certain), key=len)


def _is_too_long(texts: Sequence[str]) -> bool:
    whole = " AND ".join(texts)
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", whole)
    return len(whole) > _LENGTH_LIMIT or len(re.findall(r"[=<>:]+", outside)) > _COMPARISON_LIMIT
