"""Puts files of media into the folder of a run, each content once, and has them sent."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from modelyard.host import disk_space
from modelyard.media.content import Content, Place, Placed
from modelyard.media.file_names import stem_of

ROOT = "media"
HASH_LETTERS = 20
"""Of the SHA-256 in names of files."""
KNOWN_FILES = 100_000
"""So many files are remembered; what is logged again after more is written again, under the same name."""
_REMEDY = "set MODELYARD_DIR to a folder on another disk"


class RunMedia:
    """The files of media of one run in one process. Safe for threads.

    A file is written under another name and renamed, so that a killed process leaves no
    half of one. `send` is called with its path in the run and its local path. Without
    `files`, as in a disabled run, nothing is written.
    """

    def __init__(
        self,
        files: Callable[[], Path] | None = None,
        send: Callable[[str, str], None] = lambda path, source: None,
    ) -> None:
        self._files = files
        self._send = send
        self._known: dict[tuple[str, str, str, str], Placed] = {}

    def row(self, key: str, step: int) -> Place:
        """The place of a value of a row: `media/<folder>/<key>_<step>_<hash>.<ending>`."""
        return _RowPlace(self, stem_of(key), step)

    def put(self, content: Content, folder: str, stem: str, step: int | None) -> Placed:
        """Puts a file, unless its content was put under this stem before. Errors: OSError, LocalDiskFull."""
        digest = content.digest
        known = self._known.get((folder, stem, content.suffix, digest)) if digest else None
        if known is not None:
            return known
        if self._files is None:
            digest, size = content.measure()
            return Placed(_path(content, folder, stem, step, digest), digest, size)
        return self._write(content, folder, stem, step, self._files())

    def _write(self, content: Content, folder: str, stem: str, step: int | None, files: Path) -> Placed:
        temporary = files / ROOT / f".{uuid.uuid4().hex}.part"
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            with disk_space.explained(temporary, 0, _REMEDY):
                digest, size = _copy(content, temporary)
            known = self._known.get((folder, stem, content.suffix, digest))
            if known is not None:
                return known
            placed = Placed(_path(content, folder, stem, step, digest), digest, size)
            target = files / placed.path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        self._send(placed.path, str(target))
        if len(self._known) >= KNOWN_FILES:
            self._known.clear()
        self._known[folder, stem, content.suffix, digest] = placed
        return placed


class _RowPlace:
    """The place of one value of a row."""

    def __init__(self, media: RunMedia, stem: str, step: int) -> None:
        self._media = media
        self._stem = stem
        self._step = step

    @property
    def cells(self) -> Place:
        """The place of cells of tables: `media/<folder>/<hash>.<ending>`, once in all tables of the run."""
        return _CellPlace(self._media)

    def put(self, content: Content, folder: str) -> Placed:
        """Puts a file."""
        return self._media.put(content, folder, self._stem, self._step)


class _CellPlace:
    """The place of all cells of tables."""

    def __init__(self, media: RunMedia) -> None:
        self._media = media

    @property
    def cells(self) -> Place:
        """Itself."""
        return self

    def put(self, content: Content, folder: str) -> Placed:
        """Puts a file."""
        return self._media.put(content, folder, "", None)


def hashed_name(content: Content, folder: str, digest: str) -> str:
    """The path of a file that is named after its content alone."""
    return f"{ROOT}/{folder}/{digest[:HASH_LETTERS]}{content.suffix}"


def _path(content: Content, folder: str, stem: str, step: int | None, digest: str) -> str:
    if step is None:
        return hashed_name(content, folder, digest)
    return f"{ROOT}/{folder}/{stem}_{step}_{digest[:HASH_LETTERS]}{content.suffix}"


def _copy(content: Content, target: Path) -> tuple[str, int]:
    """Writes a file; returns its SHA-256 and size."""
    digest, size = hashlib.sha256(), 0
    with open(target, "xb") as file:
        for part in content.parts():
            file.write(part)
            digest.update(part)
            size += len(part)
    return digest.hexdigest(), size
