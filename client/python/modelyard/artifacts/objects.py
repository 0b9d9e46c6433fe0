"""Media in artifacts: one file that describes each, and the files that it names."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from modelyard.artifacts.draft import Draft, DraftEntry
from modelyard.artifacts.entries import ArtifactEntry
from modelyard.media.content import Content, Place, Placed
from modelyard.media.images.annotations import Classes
from modelyard.media.media import Media
from modelyard.media.run_folder import hashed_name
from modelyard.media.stored import CLASSES, StoredMedia
from modelyard.media.tables import file as table_file
from modelyard.media.tables.joined import JoinedTable
from modelyard.media.tables.partitioned import PartitionedTable
from modelyard.media.tables.table import Table

_TABLE = "table"
_FOLDER = "media/"
_FEW = 10
"""So many files are downloaded one by one; for more those of all media are."""


def add(draft: Draft, value: Media, name: str, *, overwrite: bool) -> DraftEntry:
    """Adds media as `<name>.<type>.json`, with files below `media`. ValueError for bad and taken names."""
    place = _DraftPlace(draft)
    if isinstance(value, Table):
        content = Content(table_file.SUFFIX, table_file.parts(value.head(len(value)), value.data, place))
        return place.write(f"{_base(name, _TABLE)}{table_file.SUFFIX}", content, overwrite=overwrite)
    if isinstance(value, Classes):
        stored: dict[str, Any] = {"_type": value.type_name, "class_set": value.class_set}
    elif isinstance(value, PartitionedTable):
        stored = value.stored()
    elif isinstance(value, JoinedTable):
        stored = _stored_join(draft, value, _base(name, value.type_name), overwrite=overwrite)
    else:
        stored = value.store(place)
    document = Content(".json", json.dumps(stored, sort_keys=True).encode())
    return place.write(
        f"{_base(name, value.type_name)}.{value.type_name}.json", document, overwrite=overwrite
    )


def _stored_join(draft: Draft, value: JoinedTable, base: str, *, overwrite: bool) -> dict[str, Any]:
    """Both tables are files of their own, beside the one that joins them."""
    stored: dict[str, Any] = {"_type": value.type_name, "join_key": value.join_key}
    for key, table in zip(("table1", "table2"), value.tables, strict=True):
        if isinstance(table, Media):
            table = add(draft, table, f"{base}_{key}", overwrite=overwrite).path
        stored[key] = table
    return stored


def find(entries: Mapping[str, Any], name: str) -> str | None:
    """The path of the file that describes the media of a name, with or without its ending."""
    kinds = [_TABLE, *CLASSES]
    if name in entries and any(name.endswith(f".{kind}.json") for kind in kinds):
        return name
    return next((path for kind in kinds if (path := f"{name}.{kind}.json") in entries), None)


def load(path: str, files: Files) -> Media:
    """The media that a file describes. Errors: those of `files`, ValueError for other files."""
    local = _LocalFiles(files)
    source = StoredMedia(local.fetch, local.prefetch, local.paths)
    data = local.fetch(path).read_bytes()
    if path.endswith(table_file.SUFFIX):
        return Table.of_documents([table_file.read(data)], source)
    found = source.restored(json.loads(data))
    if not isinstance(found, Media):
        raise ValueError(f"{path!r} describes no media")
    return found


class Files(Protocol):
    """What is needed of an artifact."""

    @property
    def manifest(self) -> Any:
        """Its files: `entries`, by path."""

    def get_entry(self, name: str) -> ArtifactEntry | DraftEntry:
        """The entry of a path. KeyError."""

    def download(self, *, path_prefix: str) -> str:
        """Downloads the files whose paths begin so; returns the folder."""


class _LocalFiles:
    """Local copies of the files of an artifact."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._folder: str | None = None

    def fetch(self, path: str) -> Path:
        """The local copy of a file."""
        entry = self._files.get_entry(path)
        if not isinstance(entry, ArtifactEntry):
            return Path(entry.local_path)
        is_there = self._folder is not None and path.startswith(_FOLDER)
        return Path(self._folder or "", path) if is_there else Path(entry.download())

    def paths(self, prefix: str) -> list[str]:
        """The paths that begin so."""
        return [path for path in self._files.manifest.entries if path.startswith(prefix)]

    def prefetch(self, paths: Collection[str]) -> None:
        """Downloads all files of media, where there are many."""
        if len(paths) > _FEW and isinstance(self._files.get_entry(next(iter(paths))), ArtifactEntry):
            self._folder = self._files.download(path_prefix=_FOLDER)


def _base(name: str, kind: str) -> str:
    """A name without the ending that is added to it. ValueError for an empty one."""
    base = name.removesuffix(f".{kind}.json")
    if not base or base.endswith("/"):
        raise ValueError(f"add: {name!r} is no name")
    return base


class _DraftPlace:
    """The place of all files of media in a draft: `media/<folder>/<hash>.<ending>`, each content once."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    @property
    def cells(self) -> Place:
        """Itself."""
        return self

    def put(self, content: Content, folder: str) -> Placed:
        """Puts a file."""
        if content.path is None and not content.digest:
            content = Content(content.suffix, content.read())
        digest, size = content.measure()
        path = hashed_name(content, folder, digest)
        if path not in self._draft.entries:
            if content.path is None:
                self.write(path, content, overwrite=True)
            else:
                self._draft.add(content.path, path, copy=True)
        return Placed(path, digest, size)

    def write(self, path: str, content: Content, *, overwrite: bool) -> DraftEntry:
        """Writes a file at a path. ValueError where there is one, unless `overwrite`."""
        if path in self._draft.entries_by_path and not overwrite:
            raise ValueError(f"{path!r} was added before; overwrite=True replaces it")
        with self._draft.write(path, "wb", None) as file:
            for part in content.parts():
                file.write(part)
        return self._draft.entries[path]
