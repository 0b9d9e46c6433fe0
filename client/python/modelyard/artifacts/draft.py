"""The files of an artifact before it is logged."""

from __future__ import annotations

import contextlib
import copy
import filecmp
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from modelyard.artifacts.staging import Staging
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
    """A file of a draft: its path in the manifest, where its bytes are, its size in bytes.

    Of a reference `local_path` is empty, and `size` 0 where it is not known.
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
    """What `log_model(path)` means: one file, all below a folder, or what a URI stands for.

    ValueError for anything else, TypeError for what is no path at all.
    """
    if isinstance(path, str) and "://" in path:
        return [], references.expand(path)
    return files_at(path), []


def files_at(path: Any) -> list[LocalFile]:
    """One file, or all below a folder. ValueError, TypeError for anything else."""
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
    """Files by their path. What may change before it is logged is copied at once.

    A draft may rest on a version: then it has that version's entries too,
    without `removed` ones.
    """

    def __init__(self) -> None:
        self.entries: dict[str, DraftEntry] = {}
        self.base_version_id = ""
        self.removed: set[str] = set()
        self._kept: dict[str, ArtifactEntry] = {}
        self._folders: Counter[str] = Counter()  # how many files lie below each
        self._staging = Staging()
        self._origin: Draft | None = None  # whose copied files must not be deleted before this is

    def __copy__(self) -> Draft:
        """A draft of its own with the same files; those that were copied stay with the first."""
        copied = Draft()
        copied.entries, copied.removed = dict(self.entries), set(self.removed)
        copied.base_version_id, copied._kept = self.base_version_id, dict(self._kept)
        copied._folders = Counter(self._folders)
        copied._origin = self
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Draft:
        return copy.copy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_origin": None}

    def rest_on(self, version_id: str, entries: Mapping[str, ArtifactEntry]) -> None:
        """Takes the entries of a version over."""
        self.base_version_id = version_id
        self._kept = dict(entries)
        for path in entries:
            self._folders.update(_parents(path))

    @property
    def everything(self) -> dict[str, ArtifactEntry | DraftEntry]:
        """What it holds, by path: files added, and those of the version it rests on."""
        found: dict[str, ArtifactEntry | DraftEntry] = {**self._kept, **self.entries}
        return dict(sorted(found.items()))

    def files(self) -> list[LocalFile]:
        """What to upload."""
        return [
            LocalFile(entry.path, Path(entry.local_path))
            for entry in self.entries.values()
            if entry.reference is None
        ]

    def references(self) -> list[FileEntry]:
        """What is to be recorded without its bytes."""
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
        """Adds a file. ValueError when the path is taken by other content and `overwrite` is not said."""
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
            raise ValueError(f"{path!r} is there with other content; overwrite=True replaces it")
        self._check_shape(path)
        place = self._staging.copy(source) if copy else source.absolute()
        return self._enter(path, place)

    @contextlib.contextmanager
    def write(self, path: str, mode: str, encoding: str | None) -> Iterator[IO[Any]]:
        """A new file to write; it is added when the block ends well."""
        refs.check_manifest_path(path)
        if mode not in {"x", "w", "xb", "wb", "x+", "w+"}:
            raise ValueError(f"mode must be one of x, w, xb, wb, not {mode!r}")
        if (path in self.entries or path in self._kept) and "x" in mode:
            raise ValueError(f"{path!r} was added before; mode='w' replaces it")
        self._check_shape(path)
        text = None if "b" in mode else encoding or "utf-8"
        with self._staging.new_file() as place:
            with open(place, mode.replace("x", "w"), encoding=text) as file:
                yield file
            self._enter(path, place)

    def remove(self, path: str) -> None:
        """Takes out a file, or all below a folder. FileNotFoundError when there is none."""
        below = path.rstrip("/") + "/"
        gone = [name for name in self.everything if name == path or name.startswith(below)]
        if not gone:
            raise FileNotFoundError(f"No such file: {path}")
        removed = self.removed.union(name for name in gone if name in self._kept)
        if len(removed) > REMOVED_PATHS:
            raise ValueError(
                f"at most {REMOVED_PATHS} files of a version can be removed: make a new Artifact"
            )
        self.removed = removed
        for name in gone:
            self.entries.pop(name, None)
            self._kept.pop(name, None)
            self._folders.subtract(_parents(name))

    def _enter(self, path: str, place: Path) -> DraftEntry:
        return self._register(DraftEntry(path, str(place), place.stat().st_size))

    def _register(self, entry: DraftEntry) -> DraftEntry:
        if entry.path not in self.entries and entry.path not in self._kept:
            self._folders.update(_parents(entry.path))
        self.entries[entry.path] = entry
        return entry

    def _check_shape(self, path: str) -> None:
        """A path cannot be a file and a folder at once."""
        for parent in _parents(path):
            if parent in self.entries or parent in self._kept:
                raise ValueError(f"{path!r}: {parent!r} is a file already")
        if self._folders[path] > 0:
            raise ValueError(f"{path!r} is a folder already")


def _parents(path: str) -> list[str]:
    """The folders a path lies in: of `a/b/c`, `a` and `a/b`."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
