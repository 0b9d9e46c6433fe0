"""Converts values of users to plain ones: numbers, text, lists and maps."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import os
import sys
import types
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

from modelyard.contract import limits, values
from modelyard.conversion import arrays
from modelyard.conversion.arrays import Rule
from modelyard.host import terminal

LIST_LIMIT = 1_000
"""Arrays of config and metadata with more elements are stored as a description of their type and shape."""

_EASY: frozenset[type] = frozenset({float, bool, str, type(None)})
_ITEM_KINDS = _EASY | {int}


class Unfit(ValueError):
    """A value cannot be stored; the message says which and why."""


def fit(value: Any, name: str, rule: Rule = Rule.LIST) -> Any:
    """A value of config, summary, metadata or a metric as it is stored: plain, and checked by `values`.

    `rule` says what arrays become. Errors and warnings call the value `name`. Errors:
    Unfit, also where code of the value itself fails.
    """
    number = arrays.number_in(value)
    if number is not None:
        return number
    try:
        found = plain(value, name, rule)
    except Unfit:
        raise
    except Exception as error:
        raise Unfit(f"{name}: cannot be read ({type(error).__name__}: {error})") from error
    problem = values.check(found, name)
    if problem:
        raise Unfit(problem)
    return found


def fit_entry(part: str, key: str, value: Any) -> tuple[Any, bool]:
    """An entry of a run's config or summary as it is stored, and whether it can be stored.

    One that cannot be is returned unchanged for the program's own use, and a
    warning says that it is not sent.
    """
    problem = values.check_entry_name(key)
    if problem:
        problem = f"the key {problem}"
    else:
        try:
            rule = Rule.STATISTICS if part == "summary" else Rule.LIST
            return fit(value, f"{part}.{key}", rule), True
        except Unfit as error:
            problem = str(error)
    terminal.warn_once(
        f"{part} {key}", f"{part} {key[:100]!r} cannot be stored and is kept in this process only: {problem}"
    )
    return value, False


def plain(value: Any, name: str, rule: Rule = Rule.LIST) -> Any:
    """A value without foreign objects; its limits are not checked, see `fit`.

    Numbers of numpy and 0-d tensors become numbers, short arrays lists, other
    arrays what `rule` says, namespaces and dataclasses maps, bytes text, dates ISO
    text, functions and classes their full name, members of enums their name (with
    LIST) or value, whole numbers beyond 64 bits their decimal text; any other object
    becomes its text. One warning names what became text.
    """
    kind = type(value)
    if kind in _EASY:
        return value
    if kind is int:
        return value if limits.INT_MIN <= value <= limits.INT_MAX else _digits(value, name)
    return _Walk(rule).plain(value, name, 0)


class _Walk:
    """The traversal of one value: the current path, and the number of items so far."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._open: set[int] = set()
        self._seen = 0

    def plain(self, value: Any, name: str, depth: int) -> Any:
        kind = type(value)
        if kind in _EASY:
            return value
        if kind is int:
            return plain(value, name)
        if depth >= limits.VALUE_DEPTH:
            return _text(value, name, "is nested too deep and is stored as text")
        if isinstance(value, Mapping):
            with self._inside(value, name):
                return {
                    key_text(key): self.plain(item, f"{name}.{key}", depth + 1) for key, item in value.items()
                }
        if isinstance(value, list | tuple | set | frozenset):
            with self._inside(value, name):
                return [self.plain(item, name, depth + 1) for item in value]
        return self._foreign(value, name, depth)

    @contextmanager
    def _inside(self, items: Collection[Any], name: str, holder: Any = None) -> Iterator[None]:
        """Counts the items of a list or map, and refuses one that contains itself; `holder` has the items."""
        identity = id(items if holder is None else holder)
        if identity in self._open:
            raise Unfit(f"{name}: contains itself")
        self._seen += len(items)
        if self._seen > limits.VALUE_ITEMS:
            raise Unfit(f"{name}: has more than {limits.VALUE_ITEMS} items")
        self._open.add(identity)
        try:
            yield
        finally:
            self._open.discard(identity)

    def _member(self, value: enum.Enum, name: str, depth: int) -> Any:
        """The name of a member in config and metadata, as W&B stores it; else its value."""
        if self._rule is Rule.LIST and isinstance(value.name, str):  # None for some combined flags
            return value.name
        return self.plain(value.value, name, depth + 1)

    def _foreign(self, value: Any, name: str, depth: int) -> Any:
        if isinstance(value, enum.Enum):
            return self._member(value, name, depth)
        if isinstance(value, bool | int | float | str):  # their subclasses, such as numpy.float64
            base = next(base for base in (int, float, str) if isinstance(value, base))
            return plain(str.__str__(value) if isinstance(value, str) else base(value), name)
        if isinstance(value, datetime.date | datetime.time):
            return value.isoformat()
        if isinstance(value, os.PathLike):
            return os.fsdecode(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return _text_of_bytes(value)
        if isinstance(value, Sequence | Set):  # ranges, deques, lists of configuration libraries
            with self._inside(value, name):
                return [self.plain(item, name, depth + 1) for item in value]
        fields = _fields(value)
        if fields is not None:
            with self._inside(fields, name, value):
                return {key: self.plain(item, f"{name}.{key}", depth + 1) for key, item in fields.items()}
        shape = arrays.shape_of(value)
        if shape is not None:
            return self._array(value, shape, name, depth)
        if callable(value) and isinstance(getattr(value, "__qualname__", None), str):
            return f"{value.__module__}.{value.__qualname__}"
        if callable(getattr(value, "item", None)):
            return _item(value, name)
        return _text(value, name, "is stored as text")

    def _array(self, value: Any, shape: tuple[int, ...], name: str, depth: int) -> Any:
        count = math.prod(shape)
        if count == 1:
            return _item(value, name)
        if count > arrays.FEW_ELEMENTS and self._rule is not Rule.LIST:
            numbers = arrays.numbers_in(value)
            if numbers is not None:
                if self._rule is Rule.HISTOGRAM:
                    return arrays.histogram(numbers)
                return arrays.statistics(numbers, arrays.kind_of(value))
        if count <= LIST_LIMIT and callable(getattr(value, "tolist", None)):
            return self.plain(value.tolist(), name, depth + 1)
        terminal.warn_once(
            f"array {name}",
            f"{name}: an array of more than {LIST_LIMIT} elements is stored as a text of its shape",
        )
        return f"{type(value).__name__} of shape {shape}"


def key_text(key: Any) -> str:
    """The key of a map as text."""
    return _text_of_bytes(key) if isinstance(key, bytes) else str(key)


def _text_of_bytes(value: bytes | bytearray | memoryview) -> str:
    """Bytes as the text that they hold in UTF-8; others, and NUL, which no text may hold, as `\\xff`."""
    return bytes(value).decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _fields(value: Any) -> dict[str, Any] | None:
    """The entries of a namespace, a dataclass or a slice; None for other values."""
    parsed = getattr(sys.modules.get("argparse"), "Namespace", types.SimpleNamespace)
    if isinstance(value, types.SimpleNamespace | parsed):
        return {str(key): item for key, item in vars(value).items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, slice):
        return {"slice_start": value.start, "slice_step": value.step, "slice_stop": value.stop}
    return None


def _item(value: Any, name: str) -> Any:
    try:
        inner = value.item()
    except (TypeError, ValueError, RuntimeError):
        return _text(value, name, "is stored as text")
    if type(inner) in _ITEM_KINDS:
        return plain(inner, name)
    # Numbers such as bfloat16 that are no float of Python.
    return float(inner) if callable(getattr(inner, "__float__", None)) else str(inner)


def _text(value: Any, name: str, why: str) -> str:
    kind = type(value).__name__
    terminal.warn_once(f"text {kind}", f"{name}: a value of type {kind} {why}")
    return str(value)


def _digits(value: int, name: str) -> str:
    """The decimal text of an integer beyond 64 bits, which a float would round."""
    terminal.warn_once(
        f"digits {name}", f"{name}: a whole number beyond 64 bits is stored as text, with all its digits"
    )
    try:
        return str(value)
    except ValueError:  # Python writes at most 4,300 decimal digits
        return hex(value)
