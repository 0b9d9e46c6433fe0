"""The files of an artifact before it is logged."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from modelyard import refs, terminal
from modelyard.errors import UsageError
from modelyard.manifest import LocalFile

_FICLONE = 0x40049409  # Linux: share the blocks of a file until either side changes
NOT_A_PATH = "path must be a file, directory or external reference like s3://bucket/path"


@dataclass(frozen=True)
class DraftEntry:
    """A file of a draft: its path in the manifest, where its bytes are, its size in bytes."""

    path: str
    local_path: str
    size: int


def files_at(path: Any) -> list[LocalFile]:
    """What `log_model(path)` means: one file, or all below a folder.

    ValueError for anything else, TypeError for what is no path at all,
    UsageError for a reference.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a Path, not {type(path).__name__}")
    text = os.fspath(path)
    refuse_reference(text)
    source = Path(text).expanduser().absolute()
    if source.is_dir():
        return list(files_below(source))
    if source.is_file():
        return [LocalFile(refs.check_manifest_path(source.name), source)]
    raise ValueError(f"{NOT_A_PATH}: there is no {text!r}")


def refuse_reference(uri: str) -> None:
    """UsageError for a URI: this release keeps files only."""
    if "://" in uri:
        raise UsageError(
            f"{uri!r} is a reference, and this release keeps files only: download it and log the local path"
        )


def files_below(folder: Path, prefix: str = "") -> Iterator[LocalFile]:
    """All files below a folder, by path. Links to folders are not followed."""
    for root, folders, names in os.walk(folder):
        for name in sorted(folders):
            if os.path.islink(os.path.join(root, name)):
                terminal.termwarn(f"{os.path.join(root, name)} is a link to a folder and is left out")
        folders.sort()
        for name in sorted(names):
            source = Path(root, name)
            path = source.relative_to(folder).as_posix()
            yield LocalFile(refs.check_manifest_path(f"{prefix}/{path}" if prefix else path), source)


class Draft:
    """Files by their path. What may change before it is logged is copied at once."""

    def __init__(self) -> None:
        self.entries: dict[str, DraftEntry] = {}
        self._staging: Path | None = None

    def files(self) -> list[LocalFile]:
        """What to upload."""
        return [LocalFile(entry.path, Path(entry.local_path)) for entry in self.entries.values()]

    def add(self, source: Path, path: str, *, copy: bool, overwrite: bool = False) -> DraftEntry:
        """Adds a file. ValueError when the path is taken by other content and `overwrite` is not said."""
        refs.check_manifest_path(path)
        if not source.is_file():
            raise ValueError(f"{str(source)!r} is not a file")
        known = self.entries.get(path)
        if known is not None and not overwrite:
            if not filecmp.cmp(known.local_path, source, shallow=False):
                raise ValueError(f"{path!r} was added before with other content; overwrite=True replaces it")
            return known
        self._check_shape(path)
        place = _copy(source, self._new_place()) if copy else source.absolute()
        return self._enter(path, place)

    @contextlib.contextmanager
    def write(self, path: str, mode: str, encoding: str | None) -> Iterator[IO[Any]]:
        """A new file to write; it is added when the block ends well."""
        refs.check_manifest_path(path)
        if mode not in {"x", "w", "xb", "wb", "x+", "w+"}:
            raise ValueError(f"mode must be one of x, w, xb, wb, not {mode!r}")
        if path in self.entries and "x" in mode:
            raise ValueError(f"{path!r} was added before; mode='w' replaces it")
        self._check_shape(path)
        place = self._new_place()
        with open(
            place, mode.replace("x", "w"), encoding=None if "b" in mode else encoding or "utf-8"
        ) as file:
            yield file
        self._enter(path, place)

    def remove(self, path: str) -> None:
        """Takes out a file, or all below a folder. FileNotFoundError when there is none."""
        gone = [name for name in self.entries if name == path or name.startswith(path.rstrip("/") + "/")]
        if not gone:
            raise FileNotFoundError(f"No such file: {path}")
        for name in gone:
            del self.entries[name]

    def _enter(self, path: str, place: Path) -> DraftEntry:
        entry = DraftEntry(path, str(place), place.stat().st_size)
        self.entries[path] = entry
        return entry

    def _check_shape(self, path: str) -> None:
        """A path cannot be a file and a folder at once."""
        parents = path.split("/")
        for depth in range(1, len(parents)):
            if "/".join(parents[:depth]) in self.entries:
                raise ValueError(f"{path!r}: {'/'.join(parents[:depth])!r} is a file already")
        if any(name.startswith(path + "/") for name in self.entries):
            raise ValueError(f"{path!r} is a folder already")

    def _new_place(self) -> Path:
        if self._staging is None:
            self._staging = Path(tempfile.mkdtemp(prefix="modelyard-draft-"))
            weakref.finalize(self, shutil.rmtree, self._staging, ignore_errors=True)
        handle, name = tempfile.mkstemp(dir=self._staging)
        os.close(handle)
        return Path(name)


def _copy(source: Path, target: Path) -> Path:
    """Copies bytes; on file systems that can, shares the blocks instead."""
    with open(source, "rb") as reader, open(target, "wb") as writer:
        try:
            import fcntl  # not on every system

            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except (ImportError, OSError):
            shutil.copyfileobj(reader, writer, 1 << 20)
    return target
