"""Values of config, summary, metadata and metrics as JSON that loses nothing.

JSON has no NaN and no infinities. They are written as `{"$": "nan"}`,
`{"$": "inf"}`, `{"$": "-inf"}`; a map that has the key `$` itself is wrapped as
`{"$": [map]}`. Whole numbers stay whole, floats stay floats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"

MAX_DEPTH = 20
INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1
_NAMES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(value: Any) -> Any:
    """The JSON form of a value; its kinds are checked, see `check`."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if isinstance(value, Mapping):
        plain = {key: to_json(item) for key, item in value.items()}
        return {"$": [plain]} if "$" in plain else plain
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
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
        return [from_json(item) for item in value]
    return value


def identical(one: Any, other: Any) -> bool:
    """Whether two values are equal in kind too, at every level: 1, 1.0 and True are three values."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(identical(item, other[key]) for key, item in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(identical, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other)  # NaN is NaN, and 0.0 is not -0.0
    return type(one) is type(other) and bool(one == other)


def check(value: Any, field: str, *, depth: int = MAX_DEPTH, finite: bool = False) -> str | None:
    """What is wrong with a value, as `field: why`; None when nothing is.

    Refused: deeper than `depth` levels, whole numbers beyond 64 bits, keys that
    are not text, and, with `finite`, infinities.
    """
    if depth < 0:
        return f"{field}: nested deeper than {MAX_DEPTH} levels"
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                return f"{field}: keys must be text, not {type(key).__name__}"
            problem = check(item, f"{field}.{key}", depth=depth - 1, finite=finite)
            if problem:
                return problem
        return None
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            problem = check(item, f"{field}[{index}]", depth=depth - 1, finite=finite)
            if problem:
                return problem
        return None
    return _check_leaf(value, field, finite=finite)


def _check_leaf(value: Any, field: str, *, finite: bool) -> str | None:
    if isinstance(value, float) and finite and math.isinf(value):
        return f"{field}: infinities are not allowed here"
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        return f"{field}: {value} does not fit 64 bits"
    if value is not None and not isinstance(value, bool | int | float | str):
        return f"{field}: {type(value).__name__} cannot be stored"
    return None
