"""What users hand over, as plain values: numbers, text, lists and maps."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import os
from collections.abc import Iterable, Mapping
from typing import Any

from modelyard import terminal, values

LIST_LIMIT = 1_000
"""Arrays with more elements are kept as a note of their kind and shape."""

PLAIN: frozenset[type] = frozenset({float, int, bool, str, type(None)})
"""Kinds that need no look inside."""


def plain(value: Any, depth: int = 0) -> Any:
    """A value of config, summary or a metric without foreign objects.

    Numbers of numpy and 0-d tensors become numbers, short arrays lists, dates
    ISO text; any other object becomes its text, with one warning for its kind.
    """
    kind = type(value)
    if kind is int:
        # Beyond 64 bits a number that is nearly right beats a batch that is refused.
        return value if values.INT_MIN <= value <= values.INT_MAX else _as_float(value)
    if kind in PLAIN:
        return value
    if depth >= values.MAX_DEPTH:
        return _text(value, "is nested too deep and is kept as text")
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth + 1) for item in value]
    return _foreign(value, depth)


def _foreign(value: Any, depth: int) -> Any:
    if isinstance(value, enum.Enum):
        return plain(value.value, depth + 1)
    if isinstance(value, bool | int | float | str):  # their subclasses, such as numpy.float64
        return next(base(value) for base in (int, float, str) if isinstance(value, base))
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return plain(fields, depth + 1)
    shape = getattr(value, "shape", None)
    if isinstance(shape, Iterable) and not callable(shape):
        return _array(value, tuple(shape), depth)
    if callable(getattr(value, "item", None)):
        return _item(value)
    return _text(value, "is kept as text")


def _array(value: Any, shape: tuple[Any, ...], depth: int) -> Any:
    count = 1
    for length in shape:
        count *= int(length)
    if count == 1:
        return _item(value)
    if count <= LIST_LIMIT and callable(getattr(value, "tolist", None)):
        return plain(value.tolist(), depth + 1)
    terminal.termwarn(
        f"an array of more than {LIST_LIMIT} elements is kept as a note of its shape", repeat=False
    )
    return f"{type(value).__name__} of shape {shape}"


def _item(value: Any) -> Any:
    try:
        inner = value.item()
    except (TypeError, ValueError, RuntimeError):
        return _text(value, "is kept as text")
    return plain(inner) if type(inner) in PLAIN else str(inner)


def _text(value: Any, why: str) -> str:
    terminal.termwarn(f"a value of type {type(value).__name__} {why}", repeat=False)
    return str(value)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
