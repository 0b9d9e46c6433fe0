"""References: entries that say where bytes are kept. They are never copied in, and only clients fetch them.

`expand` asks what a URI stands for when it is added; `opened` gives the bytes
when a version is downloaded. One module for each kind of place: `files`, `web`,
`buckets`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from modelyard.contract import errors, refs
from modelyard.rpc.manifest import FileEntry

MAX_OBJECTS = 200_000
"""How many objects a URI may stand for unless `max_objects` says otherwise: as many as a version may have."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://.")


class Target(NamedTuple):
    """An object that a URI stands for.

    `path` is where it is below the URI, empty when it is the URI's own object;
    `size` in bytes, None when not known; `tag` changes with its content.
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


class Place(Protocol):
    """Where references of one scheme are kept."""

    def name_of(self, uri: str) -> str:
        """The path an entry gets that was not named. ValueError when the URI gives none."""

    def find(self, uri: str, limit: int) -> Iterable[Target]:
        """All objects of a URI. Errors: ReferenceMissing, ValueError for more than `limit`, Error."""

    def opened(self, uri: str, tag: str) -> AbstractContextManager[Body]:
        """The object, which must have the tag unless that is empty. Errors: ReferenceMissing, -Changed."""


def expand(
    uri: str, name: str | None = None, checksum: bool = True, max_objects: int | None = None
) -> list[FileEntry]:
    """The entries that a URI stands for; see `Artifact.add_reference`."""
    scheme = scheme_of(uri)
    place = place_of(scheme)
    if place is None and not name:
        raise ValueError(f"{uri!r}: modelyard cannot look into {scheme}://, so that name= is needed")
    if place is None or not checksum:
        return [_entry(name or _name(place, uri), Target("", uri, None, ""))]
    limit = MAX_OBJECTS if max_objects is None else max_objects
    if limit < 1:
        raise ValueError(f"max_objects is {max_objects}, and must be at least 1")
    prefix = name.rstrip("/") + "/" if name else ""
    try:
        return [
            _entry(prefix + target.path if target.path else name or _name(place, uri), target)
            for target in place.find(uri, limit)
        ]
    except ConnectionError as error:
        raise errors.Error(str(error)) from error


def scheme_of(uri: str) -> str:
    """The scheme of a URI, in lower case. ValueError when there is none."""
    match = _SCHEME.match(uri)
    if match is None:
        raise ValueError(f"{uri!r} is no URI: a reference has a scheme, such as s3://, https:// or file://")
    return match[1].lower()


def place_of(scheme: str) -> Place | None:
    """What knows the scheme; None for one that modelyard cannot look into."""
    if scheme == "file":
        from modelyard.references.files import Files

        return Files()
    if scheme in {"http", "https"}:
        from modelyard.references.web import Web

        return Web()
    if scheme in {"s3", "gs"}:
        from modelyard.references.buckets import Buckets

        return Buckets(scheme)
    return None


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
    """The error that says so."""
    return errors.ReferenceChanged(f"{uri} has changed since it was recorded: {recorded} then, {found} now")


def _name(place: Place | None, uri: str) -> str:
    assert place is not None
    return place.name_of(uri)


def _entry(path: str, target: Target) -> FileEntry:
    refs.check_manifest_path(path)
    for text, limit, what in ((target.uri, refs.URI_LIMIT, "URI"), (target.tag, refs.TAG_LIMIT, "tag")):
        if len(text.encode()) > limit:
            raise ValueError(f"the {what} of {path!r} is longer than {limit:,} bytes")
        refs.check_text(text, limit=limit)
    return FileEntry(path=path, size=target.size, uri=target.uri, tag=target.tag)
