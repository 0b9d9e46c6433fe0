"""The files of an artifact before it is logged."""

from __future__ import annotations

import contextlib
import copy
import filecmp
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from modelyard.artifacts.draft_copies import DraftCopies
from modelyard.contract import refs
from modelyard.contract.limits import REMOVED_PATHS
from modelyard.host.local_files import LocalFile, check_readable, files_below, is_folder, manifest_path
from modelyard.references import schemes as references

if TYPE_CHECKING:
    from modelyard.artifacts.entries import ArtifactEntry
    from modelyard.rpc.records import FileEntry

NOT_A_PATH = "path must be a file, directory or external reference like s3://bucket/path"


@dataclass(frozen=True)
class DraftEntry:
    """A file or reference of a draft: its path in the manifest, its local path, its size in bytes.

    For a reference `local_path` is empty, and `size` is 0 when it is not known.
    """

    path: str
    local_path: str
    size: int
    reference: FileEntry | None = None

    @property
    def ref(self) -> str | None:
        """URI of a reference; None for a file."""
        return self.reference.uri if self.reference else None


def content_at(path: Any) -> tuple[list[LocalFile], list[FileEntry]]:
    """The files and references of a path: one file, all files below a folder, or the objects of a URI.

    ValueError for anything else, TypeError for an argument that is no path.
    """
    if isinstance(path, str) and "://" in path:
        return [], references.expand(path)
    return files_at(path), []


def files_at(path: Any) -> list[LocalFile]:
    """One file, or all files below a folder. ValueError, TypeError for anything else."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a Path, not {type(path).__name__}")
    text = os.fspath(path)
    if not text or isinstance(text, bytes):
        raise ValueError(f"{NOT_A_PATH}, not {text!r}")
    source = Path(text).expanduser().absolute()
    if is_folder(source):
        return list(files_below(source))
    if not os.path.lexists(source):
        raise ValueError(f"{NOT_A_PATH}: there is no {text!r}")
    check_readable(source)
    return [LocalFile(manifest_path(source.name, source), source)]


class Draft:
    """Files and references by path. Files that may change before logging are copied at once.

    A draft may be based on a version: then it also has that version's entries,
    without the `removed` ones.
    """

    def __init__(self) -> None:
        self.entries: dict[str, DraftEntry] = {}
        self.base_version_id = ""
        self.removed: set[str] = set()
        self._kept: dict[str, ArtifactEntry] = {}
        self._sources: dict[str, str] = {}  # path in the artifact of each local file that was added
        self._folders: Counter[str] = Counter()  # number of files below each folder
        self._copies = DraftCopies()
        self._origin: Draft | None = None  # keeps the copied files of the original

    def __copy__(self) -> Draft:
        """An independent draft with the same files; it keeps the original, which owns the copied ones."""
        copied = Draft()
        copied.entries, copied.removed = dict(self.entries), set(self.removed)
        copied.base_version_id, copied._kept = self.base_version_id, dict(self._kept)
        copied._sources = dict(self._sources)
        copied._folders = Counter(self._folders)
        copied._origin = self
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Draft:
        return copy.copy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_origin": None}

    def base_on(self, version_id: str, entries: Mapping[str, ArtifactEntry]) -> None:
        """Bases the draft on a version with these entries."""
        self.base_version_id = version_id
        self._kept = dict(entries)
        for path in entries:
            self._folders.update(_parents(path))

    @property
    def entries_by_path(self) -> dict[str, ArtifactEntry | DraftEntry]:
        """All entries by path: those that were added, and those of the base version."""
        found: dict[str, ArtifactEntry | DraftEntry] = {**self._kept, **self.entries}
        return dict(sorted(found.items()))

    def files(self) -> list[LocalFile]:
        """The files to upload."""
        local = {entry.path: Path(entry.local_path) for entry in self.entries.values() if not entry.reference}
        return [LocalFile(path, source, self._copies.has(source)) for path, source in local.items()]

    def references(self) -> list[FileEntry]:
        """The references to record."""
        return [entry.reference for entry in self.entries.values() if entry.reference is not None]

    def add_references(self, found: Sequence[FileEntry]) -> list[DraftEntry]:
        """Adds references, all or none. ValueError when a path is taken by other content."""
        entries = [DraftEntry(entry.path, "", entry.size or 0, entry) for entry in found]
        for entry in entries:
            known = self.entries.get(entry.path) or self._kept.get(entry.path)
            if known is not None and known != entry:
                raise ValueError(f"{entry.path!r} was added before with other content")
            self._check_shape(entry.path)
        for entry in entries:
            self._register(entry)
        return entries

    def add(self, source: Path, path: str, *, copy: bool, overwrite: bool = False) -> DraftEntry:
        """Adds a file. ValueError when the path has other content, unless `overwrite`."""
        refs.check_manifest_path(path)
        if is_folder(source) or not os.path.lexists(source):
            raise ValueError(f"{str(source)!r} is not a file")
        check_readable(source)
        known = self.entries.get(path)
        if known is not None and not overwrite:
            if known.reference or not filecmp.cmp(known.local_path, source, shallow=False):
                raise ValueError(f"{path!r} was added before with other content; overwrite=True replaces it")
            return known
        kept = self._kept.get(path)
        if kept is not None and not overwrite and not kept._has_content_of(source):
            raise ValueError(
                f"{path!r} exists in the base version with other content; overwrite=True replaces it"
            )
        self._check_shape(path)
        local = self._copies.copy(source) if copy else source.absolute()
        self._sources[str(source.absolute())] = path
        return self._add_local(path, local)

    def add_entry(
        self, entry: DraftEntry | ArtifactEntry, path: str, *, overwrite: bool = False
    ) -> DraftEntry:
        """Adds a file or reference of another artifact, as `path`. ValueError as in `add`."""
        reference = entry.reference if isinstance(entry, DraftEntry) else entry._reference
        if overwrite:
            self._forget(path)
        if reference is not None:
            return self.add_references([replace(reference, path=path)])[0]
        if isinstance(entry, DraftEntry):
            return self.add(Path(entry.local_path), path, copy=True)
        with tempfile.TemporaryDirectory(prefix="modelyard-entry-") as folder:
            return self.add(Path(entry.download(folder)), path, copy=True)

    def path_of(self, local_path: str | os.PathLike[str]) -> str | None:
        """Where in the artifact a local file is that was added; None for another file."""
        return self._sources.get(str(Path(local_path).expanduser().absolute()))

    @contextlib.contextmanager
    def write(self, path: str, mode: str, encoding: str | None) -> Iterator[IO[Any]]:
        """A new file to write; it is added when the block ends without an error."""
        refs.check_manifest_path(path)
        if mode not in {"x", "w", "xb", "wb", "x+", "w+"}:
            raise ValueError(f"mode must be one of x, w, xb, wb, not {mode!r}")
        if (path in self.entries or path in self._kept) and "x" in mode:
            raise ValueError(f"{path!r} was added before; mode='w' replaces it")
        self._check_shape(path)
        text = None if "b" in mode else encoding or "utf-8"
        with self._copies.new_file() as local:
            with open(local, mode.replace("x", "w"), encoding=text) as file:
                yield file
            self._add_local(path, local)

    def remove(self, path: str) -> None:
        """Removes a file, or all below a folder. FileNotFoundError when there is none."""
        below = path.rstrip("/") + "/"
        matching = [name for name in self.entries_by_path if name == path or name.startswith(below)]
        if not matching:
            raise FileNotFoundError(f"No such file: {path}")
        removed = self.removed.union(name for name in matching if name in self._kept)
        if len(removed) > REMOVED_PATHS:
            raise ValueError(
                f"at most {REMOVED_PATHS} files of a version can be removed: make a new Artifact"
            )
        self.removed = removed
        for name in matching:
            self.entries.pop(name, None)
            self._kept.pop(name, None)
            self._folders.subtract(_parents(name))

    def _forget(self, path: str) -> None:
        """Forgets what is at a path, so that another entry can take its place."""
        if path in self.entries or path in self._kept:
            self._folders.subtract(_parents(path))
        self.entries.pop(path, None)
        self._kept.pop(path, None)

    def _add_local(self, path: str, local: Path) -> DraftEntry:
        return self._register(DraftEntry(path, str(local), local.stat().st_size))

    def _register(self, entry: DraftEntry) -> DraftEntry:
        if entry.path not in self.entries and entry.path not in self._kept:
            self._folders.update(_parents(entry.path))
        self.entries[entry.path] = entry
        return entry

    def _check_shape(self, path: str) -> None:
        """ValueError where a path would be a file and a folder at once."""
        for parent in _parents(path):
            if parent in self.entries or parent in self._kept:
                raise ValueError(f"{path!r}: {parent!r} is a file already")
        if self._folders[path] > 0:
            raise ValueError(f"{path!r} is a folder already")


def _parents(path: str) -> list[str]:
    """The parent folders of a path: of `a/b/c`, `a` and `a/b`."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
