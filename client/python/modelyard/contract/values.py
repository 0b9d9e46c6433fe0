"""Values of config, summary, metadata and metrics, their lossless JSON form, and the states of runs.

JSON has no NaN and no infinities. They are written as `{"$": "nan"}`,
`{"$": "inf"}`, `{"$": "-inf"}`; a map that has the key `$` itself is wrapped as
`{"$": [map]}`. Whole numbers stay whole, floats stay floats.

Values and the names of metrics are checked here too: by the SDK where a value
is given, by the server where one arrives.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from modelyard.contract.limits import INT_MAX, INT_MIN, KEY_BYTES, TEXT_BYTES, VALUE_DEPTH, VALUE_ITEMS

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"

RUN_STATES = ("running", "finished", "failed", "crashed", "killed")
"""States of runs, in the order of the wire's RunState: its names in lower case, without prefix."""

SUMMARY_KINDS = ("min", "max", "mean", "best", "first", "last", "copy", "none")
"""What a summary may keep of a metric, in the order of the wire's SummaryKind, from 1."""
METRIC_GOALS = ("minimize", "maximize")
"""In the order of the wire's MetricGoal, from 1."""

_NAMES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(value: Any) -> Any:
    """The JSON form of a value; its kinds are checked, see `check`."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if isinstance(value, Mapping):
        plain = {key: to_json(item) for key, item in value.items()}
        return {"$": [plain]} if "$" in plain else plain
    if isinstance(value, list | tuple):
        return list(value) if _is_plain(value) else [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Any:
    """The value of its JSON form."""
    if isinstance(value, dict):
        if len(value) == 1 and "$" in value:
            inner = value["$"]
            if isinstance(inner, str):
                return _NAMES[inner]
            return {key: from_json(item) for key, item in inner[0].items()}
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(value) if _is_plain(value) else [from_json(item) for item in value]
    return value


def identical(one: Any, other: Any) -> bool:
    """Whether two values are equal in value and type, at every level: 1, 1.0 and True differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(identical(item, other[key]) for key, item in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return False
        return _same_numbers(one, other) or all(map(identical, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other)  # NaN equals NaN here, and 0.0 differs from -0.0
    return type(one) is type(other) and bool(one == other)


def _same_numbers(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two lists hold floats only, with equal bytes; long lists are compared fast so."""
    if not set(map(type, one)) == set(map(type, other)) == {float}:
        return False
    return array("d", one).tobytes() == array("d", other).tobytes()


def check(value: Any, field: str, *, depth: int = VALUE_DEPTH, finite: bool = False) -> str | None:
    """Describes what is wrong with a value, as `field: why`; None for a valid one.

    Refused: lists and maps nested deeper than `depth` levels, more than 200,000
    items, texts of more than 1,000,000 bytes or with NUL or half of a surrogate pair,
    whole numbers beyond 64 bits, keys that `check_key` refuses, other kinds,
    and, with `finite`, infinities.
    """
    problem = find_problem(value, depth=depth, finite=finite)
    return f"{field}{problem[0]}: {problem[1]}" if problem else None


def find_problem(value: Any, *, depth: int = VALUE_DEPTH, finite: bool = False) -> tuple[str, str] | None:
    """As `check`: the place in the value, as `.key[3]` or empty for the value itself, and what is wrong."""
    return _find_problem(value, depth, finite, [VALUE_ITEMS])


def check_text(text: str) -> str | None:
    """Describes what is wrong with a text: over 1,000,000 bytes, NUL, a lone surrogate; else None."""
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        return f"holds the character U+{ord(text[error.start]):04X}, which is half of a surrogate pair"
    if "\0" in text:
        return "holds the character U+0000, which is not allowed here"
    return f"is longer than {TEXT_BYTES} bytes" if size > TEXT_BYTES else None


def check_key(key: str) -> str | None:
    """Describes what is wrong with the key of a map: over 1,024 bytes, or as `check_text`."""
    problem = check_text(key)
    if problem is None and len(key) * 4 > KEY_BYTES and len(key.encode()) > KEY_BYTES:
        return f"is longer than {KEY_BYTES} bytes"
    return problem


def check_entry_name(name: str) -> str | None:
    """Describes what is wrong with a key of config or summary: as `check_key`, and not empty."""
    return check_key(name) if name else "is empty"


def check_metric_name(name: str) -> str | None:
    """Describes what is wrong with the name of a metric.

    As `check_entry_name`; no control characters, no `_` in front.
    """
    problem = check_entry_name(name)
    if problem is None and name.startswith("_"):
        return "begins with _, which is reserved for `_step`, `_timestamp`, `_runtime` and others to come"
    if problem is None and not name.isprintable():
        control = next((char for char in name if char < " " or char == "\x7f"), None)
        return f"holds the control character U+{ord(control):04X}" if control else None
    return problem


def _find_problem(value: Any, depth: int, finite: bool, left: list[int]) -> tuple[str, str] | None:
    """Where in the value something is wrong, and what. `left`: how many items it may still have."""
    if isinstance(value, Mapping | list | tuple):
        left[0] -= len(value)
        if depth <= 0:
            return "", f"nested deeper than {VALUE_DEPTH} levels"
        if left[0] < 0:
            return "", f"has more than {VALUE_ITEMS} items"
        if isinstance(value, Mapping):
            return _find_in_map(value, depth, finite, left)
        if _is_plain(value, INT_MIN, INT_MAX):
            return None  # a long list of numbers takes no time
        for index, item in enumerate(value):
            problem = _find_problem(item, depth - 1, finite, left)
            if problem:
                return f"[{index}]{problem[0]}", problem[1]
        return None
    problem_of_leaf = _check_leaf(value, finite=finite)
    return ("", problem_of_leaf) if problem_of_leaf else None


def _is_plain(items: Sequence[Any], least: float = -math.inf, most: float = math.inf) -> bool:
    """Whether all are finite floats, or all whole numbers from `least` to `most`: their own JSON form."""
    kinds = set(map(type, items))
    if kinds == {float}:
        return math.isfinite(sum(items)) or all(map(math.isfinite, items))
    return kinds == {int} and least <= min(items) and max(items) <= most


def _find_in_map(
    value: Mapping[Any, Any], depth: int, finite: bool, left: list[int]
) -> tuple[str, str] | None:
    for key, item in value.items():
        if not isinstance(key, str):
            return "", f"keys must be text, not {type(key).__name__}"
        wrong = check_key(key)
        if wrong:
            return "", f"the key {key[:50]!r} {wrong}"
        problem = _find_problem(item, depth - 1, finite, left)
        if problem:
            return f".{key}{problem[0]}", problem[1]
    return None


def _check_leaf(value: Any, *, finite: bool) -> str | None:
    if isinstance(value, str):
        return check_text(value)
    if isinstance(value, float) and finite and math.isinf(value):
        return "infinities are not allowed here"
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        return "is a whole number beyond 64 bits"
    if value is not None and not isinstance(value, bool | int | float):
        return f"{type(value).__name__} cannot be stored"
    return None
