"""The version of this server."""

from __future__ import annotations

from importlib.metadata import version

VERSION = version("modelyard")


def as_numbers(release: str) -> tuple[int, ...]:
    """A version as a tuple of numbers, which compares: `0.10.2` is newer than `0.9`."""
    return tuple(int(part) for part in release.split(".") if part.isdigit())
