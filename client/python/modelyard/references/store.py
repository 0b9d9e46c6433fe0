"""The interface of stores of referenced objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from modelyard.contract import errors


class Target(NamedTuple):
    """An object of a URI.

    `path` is relative to the URI, empty for the URI's own object; `size` is in bytes,
    None if unknown; `tag` changes with its content.
    """

    path: str
    uri: str
    size: int | None
    tag: str


class Body(Protocol):
    """The bytes of a target, from the first to the last."""

    @property
    def size(self) -> int | None:
        """Bytes it will have; None when not known."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""


class Store(Protocol):
    """A store of one scheme."""

    def name_of(self, uri: str) -> str:
        """The path an entry gets that was not named. ValueError when the URI gives none."""

    def find(self, uri: str, limit: int) -> Iterable[Target]:
        """All objects of a URI. Errors: ReferenceMissing, ValueError for more than `limit`, Error."""

    def opened(self, uri: str, tag: str) -> AbstractContextManager[Body]:
        """The object, which must have the tag unless that is empty. Errors: ReferenceMissing, -Changed."""


def limited(targets: Iterable[Target], limit: int, uri: str) -> Iterator[Target]:
    """The same targets. ValueError at the first one above the limit."""
    for count, target in enumerate(targets):
        if count == limit:
            raise ValueError(
                f"{uri!r} stands for more than {limit:,} objects: nothing was added. "
                "max_objects= raises the limit"
            )
        yield target


def changed(uri: str, recorded: object, found: object) -> errors.ReferenceChanged:
    """The error for too many objects."""
    return errors.ReferenceChanged(f"{uri} has changed since it was recorded: {recorded} then, {found} now")
