"""Checks of what users send: ids, names, descriptions, tags, metadata. Each error names the field."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from modelyard.contract import errors, refs, values
from modelyard.contract.limits import METADATA_KEYS

DESCRIPTION_BYTES = 64 * 1024
METADATA_BYTES = 1024 * 1024
TAG_LIMIT = 100

P = ParamSpec("P")
T = TypeVar("T")


def check(name: str, rule: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a rule of the contract; its ValueError becomes InvalidField for the field `name`."""
    try:
        return rule(*args, **kwargs)
    except ValueError as error:
        raise errors.InvalidField.of(name, str(error)) from None


def parse_id(field: str, text: str) -> str:
    """An id in the form that the database compares. Raises InvalidField."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise errors.InvalidField.of(field, f"{text[:100]!r} is not an id (a UUID)") from None


def check_place(prefix: str, entity: str, project: str) -> None:
    """Checks the fields `entity` and `project` below `prefix`; empty ones mean the default.

    Raises InvalidField.
    """
    for name, text in (("entity", entity), ("project", project)):
        if text:
            check(f"{prefix}{name}", refs.check_owner, text, name)


def check_type(field: str, type_: str) -> str:
    """The type of an artifact: 1 to 128 of [A-Za-z0-9_.-]. Raises InvalidField."""
    return check(field, refs.check_owner, type_, "type")


def check_description(field: str, text: str) -> str:
    """Free text of at most 64 KiB. Raises InvalidField."""
    if len(text.encode()) > DESCRIPTION_BYTES:
        raise errors.InvalidField.of(field, f"longer than {DESCRIPTION_BYTES} bytes")
    if "\0" in text:
        raise errors.InvalidField.of(field, "holds the character U+0000, which is not allowed here")
    return text


def check_tags(field: str, tags: Sequence[str]) -> list[str]:
    """At most 100 tags, each once, in the order given. Raises InvalidField."""
    if len(tags) > TAG_LIMIT:
        raise errors.InvalidField.of(field, f"at most {TAG_LIMIT} tags")
    return list(dict.fromkeys(check(f"{field}[{i}]", refs.check_tag, tag) for i, tag in enumerate(tags)))


def check_metadata(field: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The stored form of an artifact's metadata: at most 100 keys at the top, 20 levels, 1 MiB of JSON.

    NaN becomes null. Raises InvalidField, for infinities too.
    """
    if len(metadata) > METADATA_KEYS:
        raise errors.InvalidField.of(field, f"has {len(metadata)} keys at the top; at most {METADATA_KEYS}")
    # The top map is a level itself, so its values may have one level less.
    problem = values.find_problem(metadata, finite=True)
    if problem:
        raise errors.InvalidField.of(f"{field}{problem[0]}", problem[1])
    stored = {key: values.to_json(_without_nan(item)) for key, item in metadata.items()}
    if len(json.dumps(stored)) > METADATA_BYTES:
        raise errors.InvalidField.of(field, f"longer than {METADATA_BYTES} bytes of JSON")
    return stored


def wire_bytes(value: Any) -> int:
    """The size of a value as a message, from its JSON form."""
    if type(value) is float:  # what most values are
        return _DOUBLE_BYTES
    if isinstance(value, str):
        return _field_bytes(len(value) if value.isascii() else len(value.encode()))
    if isinstance(value, Mapping):
        inner = value.get("$") if len(value) == 1 else None
        if isinstance(inner, str):
            return _DOUBLE_BYTES
        return _field_bytes(wire_bytes_of_map(value if inner is None else inner[0]))
    if isinstance(value, list | tuple):
        return _field_bytes(_items_bytes(value))
    if isinstance(value, bool) or value is None:
        return 2
    return _DOUBLE_BYTES if isinstance(value, float) else 1 + _varint_bytes(value)


def wire_bytes_of_map(entries: Mapping[str, Any]) -> int:
    """The size of a map of values as a field of a message, from its JSON form."""
    return sum(wire_bytes_of_entry(key, wire_bytes(item)) for key, item in entries.items())


def wire_bytes_of_entry(key: str, size: int) -> int:
    """The size of an entry of a map of values, whose value has `size` bytes."""
    length = len(key) if key.isascii() else len(key.encode())
    if length + size < _SHORT:
        return 6 + length + size  # each of the three fields has two bytes besides
    return _field_bytes(_field_bytes(length) + _field_bytes(size))


_DOUBLE_BYTES = 9
_SHORT = 124


def _items_bytes(items: Sequence[Any]) -> int:
    kinds = set(map(type, items))
    if kinds == {float}:
        return len(items) * (2 + _DOUBLE_BYTES)
    if kinds == {int} and 0 <= min(items) <= max(items) < 128:
        return 4 * len(items)
    return sum(_field_bytes(wire_bytes(item)) for item in items)


def _field_bytes(length: int) -> int:
    """The size of a field of so many bytes, with its number and its length."""
    return 1 + _varint_bytes(length) + length


def _varint_bytes(number: int) -> int:
    return 10 if number < 0 else (max(number.bit_length(), 1) + 6) // 7


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
