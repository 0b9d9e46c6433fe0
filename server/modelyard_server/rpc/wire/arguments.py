"""Arguments that several requests have in common: masks, times, selectors."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.contract import errors


def masked(mask: FieldMask, allowed: Collection[str], *, optional: bool = False) -> set[str]:
    """The fields to update, of the `allowed` ones.

    Raises InvalidMask for fields that cannot be updated, and for an empty mask unless it is `optional`.
    """
    check_paths("update_mask", mask.paths, allowed, allowed, optional=optional)
    return set(mask.paths)


def check_paths(
    field: str, paths: Iterable[str], allowed: Collection[str], shown: Iterable[str], *, optional: bool = True
) -> None:
    """Raises InvalidMask for paths that are not `allowed`, and for none at all unless it is `optional`.

    `shown` is what the error says is known.
    """
    given = set(paths)
    wrong = sorted(given - set(allowed))
    if wrong or not (given or optional):
        verb = "updated" if field == "update_mask" else "read"
        why = f"{wrong[0][:100]!r} cannot be {verb}" if wrong else "names no field"
        known = ", ".join(sorted(shown))
        raise errors.InvalidMask(
            f"{field}: {why}; known: {known}", violations=[(field, f"{why}; known: {known}")]
        )


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


def optional(request: Message, field: str) -> int | None:
    """The number in an optional field; None where it is not set."""
    found: int | None = getattr(request, field) if request.HasField(field) else None
    return found


def microseconds(field: str, time: Timestamp) -> int:
    """A time as microseconds since 1970. Raises InvalidField outside the years 1 to 9999."""
    if not -62_135_596_800 <= time.seconds <= 253_402_300_799 or not 0 <= time.nanos < 1_000_000_000:
        raise errors.InvalidField.of(field, "is not a valid time")
    return time.seconds * 1_000_000 + time.nanos // 1000
