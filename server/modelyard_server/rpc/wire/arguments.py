"""Arguments that several requests have in common: masks, times, one of two."""

from __future__ import annotations

from collections.abc import Collection

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.contract import errors


def masked(mask: FieldMask, allowed: Collection[str]) -> set[str]:
    """The fields to update. Raises InvalidMask for none, or for one that cannot be."""
    paths = set(mask.paths)
    wrong = sorted(paths - set(allowed))
    if wrong or not paths:
        why = f"{wrong[0][:100]!r} cannot be updated" if wrong else "names no field"
        known = ", ".join(sorted(allowed))
        raise errors.InvalidMask(
            f"update_mask: {why}; known: {known}", violations=[("update_mask", f"{why}; known: {known}")]
        )
    return paths


def one_of(**given: str) -> None:
    """Raises InvalidField unless exactly one of the arguments is given."""
    if sum(bool(text) for text in given.values()) != 1:
        names = " and ".join(given) if len(given) == 2 else ", ".join(given)
        raise errors.InvalidField.of(next(iter(given)), f"give exactly one of {names}")


def at_most_one_of(**given: str) -> None:
    """Raises InvalidField when more than one of the arguments is given."""
    if sum(bool(text) for text in given.values()) > 1:
        raise errors.InvalidField.of(next(iter(given)), f"give only one of {' and '.join(given)}")


def alone(field: str, **others: str) -> None:
    """Raises InvalidField where another argument is given beside one that says it all."""
    for name, text in others.items():
        if text:
            raise errors.InvalidField.of(name, f"goes without {field} only")


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
