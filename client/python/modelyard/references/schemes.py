"""References: URIs of objects that stay where they are and that only clients read.

`expand` lists the objects of a URI when it is added. `store_of` chooses the store
by scheme: `files`, `web` or `buckets`.
"""

from __future__ import annotations

import re

from modelyard.contract import errors, refs
from modelyard.contract.limits import URI_LENGTH, URI_TAG_LENGTH, VERSION_ENTRIES
from modelyard.references.store import Store, Target
from modelyard.rpc.records import FileEntry

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://.")


def expand(
    uri: str, name: str | None = None, checksum: bool = True, max_objects: int | None = None
) -> list[FileEntry]:
    """The entries of a URI; see `Artifact.add_reference`."""
    scheme = scheme_of(uri)
    store = store_of(scheme)
    if store is None and not name:
        raise ValueError(f"{uri!r}: modelyard does not support {scheme}://, so name= is needed")
    if store is None or not checksum:
        return [_entry(name or _name(store, uri), Target("", uri, None, ""))]
    limit = VERSION_ENTRIES if max_objects is None else max_objects
    if limit < 1:
        raise ValueError(f"max_objects is {max_objects}, and must be at least 1")
    prefix = name.rstrip("/") + "/" if name else ""
    try:
        return [
            _entry(prefix + target.path if target.path else name or _name(store, uri), target)
            for target in store.find(uri, limit)
        ]
    except ConnectionError as error:
        raise errors.Error(str(error)) from error


def scheme_of(uri: str) -> str:
    """The scheme of a URI, in lower case. ValueError when there is none."""
    match = _SCHEME.match(uri)
    if match is None:
        raise ValueError(
            f"{uri!r} is not a URI: a reference has a scheme, such as s3://, https:// or file://"
        )
    return match[1].lower()


def store_of(scheme: str) -> Store | None:
    """The store of a scheme; None for schemes that modelyard does not support."""
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


def _name(store: Store | None, uri: str) -> str:
    assert store is not None
    return store.name_of(uri)


def _entry(path: str, target: Target) -> FileEntry:
    refs.check_manifest_path(path)
    for text, limit, what in ((target.uri, URI_LENGTH, "URI"), (target.tag, URI_TAG_LENGTH, "tag")):
        if len(text.encode()) > limit:
            raise ValueError(f"the {what} of {path!r} is longer than {limit:,} bytes")
        refs.check_text(text, limit=limit)
    return FileEntry(path=path, size=target.size, uri=target.uri, tag=target.tag)
