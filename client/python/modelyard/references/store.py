"""The interface of stores of referenced objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from modelyard.contract import errors
from modelyard.contract.limits import VERSION_ENTRIES


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
    """The bytes of an object, to be read once."""

    @property
    def size(self) -> int | None:
        """Number of bytes; None when not known."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""


class Store(Protocol):
    """A store of one scheme."""

    def name_of(self, uri: str) -> str:
        """The default path of an entry. ValueError when the URI has no name."""

    def find(self, uri: str, limit: int) -> Iterable[Target]:
        """All objects of a URI. Errors: ReferenceMissing, ValueError for more than `limit`, Error."""

    def opened(self, uri: str, tag: str) -> AbstractContextManager[Body]:
        """Opens an object, which must have the tag unless that is empty.

        Errors: ReferenceMissing, ReferenceChanged, Error, ConnectionError.
        """


def limited(targets: Iterable[Target], limit: int, uri: str) -> Iterator[Target]:
    """Yields the targets. ValueError when there are more than `limit`."""
    for count, target in enumerate(targets):
        if count == limit:
            raise ValueError(
                f"{uri!r} stands for more than {limit:,} objects: nothing was added. Make several artifacts "
                "of it, or pass a higher max_objects=; a version has at most as many entries as its server "
                f"allows, by default {VERSION_ENTRIES:,} (--max-version-files)"
            )
        yield target


def changed(uri: str, recorded: object, found: object) -> errors.ReferenceChanged:
    """The error for an object that has changed since it was recorded."""
    return errors.ReferenceChanged(f"{uri} has changed since it was recorded: {recorded} then, {found} now")
