"""Arguments that several requests have in common: masks, times, selectors."""

from __future__ import annotations

from collections.abc import Collection

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.contract import errors


def masked(mask: FieldMask, allowed: Collection[str], *, optional: bool = False) -> set[str]:
    """The fields to update, of the `allowed` ones.

    Raises InvalidMask for fields that cannot be updated, and for an empty mask unless it is `optional`.
    """
    paths = set(mask.paths)
    wrong = sorted(paths - set(allowed))
    if wrong or not (paths or optional):
        why = f"{wrong[0][:100]!r} cannot be updated" if wrong else "names no field"
        known = ", ".join(sorted(allowed))
        raise errors.InvalidMask(
            f"update_mask: {why}; known: {known}", violations=[("update_mask", f"{why}; known: {known}")]
        )
    return paths


def single_keys(field: str, keys: Collection[str], mask: Collection[str]) -> list[str]:
    """The keys of a map to update alone, each once. `field` is the map's name and `_keys`.

    Raises InvalidField for an empty key, and where the mask names the whole map.
    """
    name = field.removesuffix("_keys")
    if keys and name in mask:
        raise errors.InvalidField.of(field, f"must not be set together with {name} in update_mask")
    if "" in keys:
        raise errors.InvalidField.of(field, "has an empty key")
    return list(dict.fromkeys(keys))


def selector(request: Message, oneof: str = "selector", *, optional: bool = False) -> str:
    """The field of the oneof `selector`, or of another one, that a request has set.

    Empty where none is set and none has to be. Raises InvalidField where one has
    to be set, or is set and empty.
    """
    field = request.WhichOneof(oneof)
    if field is None and not optional:
        known = [each.name for each in request.DESCRIPTOR.oneofs_by_name[oneof].fields]
        raise errors.InvalidField.of(known[0], f"is not set; set one of {', '.join(known)}")
    if field is not None and not getattr(request, field):
        raise errors.InvalidField.of(field, "is empty")
    return field or ""


def alone(field: str, **others: str) -> None:
    """Raises InvalidField where another field is set beside `field`, which excludes it."""
    for name, text in others.items():
        if text:
            raise errors.InvalidField.of(name, f"must not be set together with {field}")


def required(field: str, text: str) -> str:
    """The text. Raises InvalidField when it is empty."""
    if not text:
        raise errors.InvalidField.of(field, "is required")
    return text


def microseconds(field: str, time: Timestamp) -> int:
    """A time as microseconds since 1970. Raises InvalidField outside the years 1 to 9999."""
    if not -62_135_596_800 <= time.seconds <= 253_402_300_799 or not 0 <= time.nanos < 1_000_000_000:
        raise errors.InvalidField.of(field, "is not a valid time")
    return time.seconds * 1_000_000 + time.nanos // 1000
