"""Conversion of values and times between messages and rows."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.contract import errors, values
from modelyard.v1 import value_pb2 as pb


class _NoKindError(Exception):
    """A value has no kind that this server knows, or a null_value of false."""


def timestamp(microseconds: int | None) -> Timestamp | None:
    """Converts microseconds since 1970; None stays None, which leaves a field unset."""
    if microseconds is None:
        return None
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def value_to_python(value: pb.AnyValue, field: str) -> Any:
    """A value as an object of Python's built-in types. Raises InvalidField."""
    try:
        found = _plain(value)
    except _NoKindError:
        place, why = _find_no_kind(value) or ("", "has no kind")
        raise errors.InvalidField.of(f"{field}{place}", why) from None
    problem = values.find_problem(found)
    if problem:
        raise errors.InvalidField.of(f"{field}{problem[0]}", problem[1])
    return found


def values_to_python(entries: Mapping[str, pb.AnyValue], field: str) -> dict[str, Any]:
    """A map of values as a dict; `field` names the map in errors. Raises InvalidField."""
    found: dict[str, Any] = {}
    for key, item in entries.items():
        wrong = values.check_key(key)
        if wrong:
            raise errors.InvalidField.of(field, f"the key {key[:50]!r} {wrong}")
        found[key] = value_to_python(item, f"{field}.{key}")
    return found


def values_to_json(entries: Mapping[str, pb.AnyValue], field: str) -> dict[str, Any]:
    """A map of values in the form of rows: each entry as JSON. Raises InvalidField."""
    return {key: values.to_json(item) for key, item in values_to_python(entries, field).items()}


def python_to_value(value: Any) -> pb.AnyValue:
    """Converts an object of Python's built-in types to a value."""
    match value:
        case None:
            return pb.AnyValue(null_value=True)
        case bool():
            return pb.AnyValue(bool_value=value)
        case int():
            return pb.AnyValue(int_value=value)
        case float():
            return pb.AnyValue(double_value=value)
        case str():
            return pb.AnyValue(string_value=value)
        case Mapping():
            return pb.AnyValue(map_value=pb.ValueMap(entries=python_to_values(value)))
        case list() | tuple():
            return pb.AnyValue(list_value=_value_list(value))
    raise TypeError(f"{type(value).__name__} cannot be a value")


def python_to_values(entries: Mapping[str, Any]) -> dict[str, pb.AnyValue]:
    """Converts a dict for a map field of a message."""
    return {key: python_to_value(item) for key, item in entries.items()}


def json_to_values(entries: Mapping[str, Any]) -> dict[str, pb.AnyValue]:
    """Converts a map in the form of rows for a map field of a message."""
    return {key: python_to_value(values.from_json(item)) for key, item in entries.items()}


def _plain(value: pb.AnyValue) -> Any:
    """The value, unchecked. The recursion ends: Protobuf refuses messages of more than 100 levels."""
    kind = value.WhichOneof("kind")
    if kind is None:
        raise _NoKindError
    if kind == "list_value":
        return _plain_list(list(value.list_value.values))
    if kind == "map_value":
        return {key: _plain(item) for key, item in value.map_value.entries.items()}
    if kind == "null_value":
        if not value.null_value:
            raise _NoKindError
        return None
    return getattr(value, kind)


def _plain_list(items: list[pb.AnyValue]) -> list[Any]:
    kinds = {item.WhichOneof("kind") for item in items}
    if kinds == {"double_value"}:
        return [item.double_value for item in items]
    if kinds == {"string_value"}:
        return [item.string_value for item in items]
    return [_plain(item) for item in items]


def _value_list(items: Sequence[Any]) -> pb.ValueList:
    if set(map(type, items)) == {float}:
        # Encoded here: making a message of each number takes six times as long.
        return pb.ValueList.FromString(b"".join(map(_DOUBLE.pack, itertools.repeat(_DOUBLE_HEAD), items)))
    return pb.ValueList(values=[python_to_value(item) for item in items])


_DOUBLE = struct.Struct("<3sd")
_DOUBLE_HEAD = b"\x0a\x09\x19"
"""Of an element of a ValueList with a double: field 1 of 9 bytes, which are field 3."""


def _find_no_kind(value: pb.AnyValue) -> tuple[str, str] | None:
    """The place of the first value without a usable kind, as `.key[3]`, and what is wrong with it."""
    kind = value.WhichOneof("kind")
    if kind is None:
        return "", "has no kind that this server knows; null is null_value"
    if kind == "null_value" and not value.null_value:
        return "", "has a null_value of false; it has to be true"
    inner = [(f"[{index}]", item) for index, item in enumerate(value.list_value.values)]
    inner += [(f".{key}", item) for key, item in value.map_value.entries.items()]
    for place, item in inner:
        if found := _find_no_kind(item):
            return f"{place}{found[0]}", found[1]
    return None
