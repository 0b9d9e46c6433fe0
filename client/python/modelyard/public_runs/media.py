"""Media of runs: the values that rows have maps for, from files that are downloaded."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Protocol

from modelyard.contract import refs
from modelyard.media.stored import StoredMedia
from modelyard.public_runs.files import PublicFile, download_all

_FEW = 10
"""So many files are looked up one by one; for more the run's are listed."""


def restored(value: Any, root: str | os.PathLike[str], run: Run) -> Any:
    """A value with media instead of the maps that stand for them; see `PublicRun.media`."""
    files = _Files(Path(root), run)
    return StoredMedia(files.fetch, files.prefetch).restored(value)


class Run(Protocol):
    """What is needed of a run."""

    def file(self, name: str) -> PublicFile:
        """A file of it. Errors: NotFound."""

    def files(self, *, pattern: str) -> Iterable[PublicFile]:
        """The files whose paths match a pattern."""


class _Files:
    """The files of a run, in a folder. The name of one has the hash of its content: what is there stays."""

    def __init__(self, root: Path, run: Run) -> None:
        self._root = root
        self._run = run

    def fetch(self, path: str) -> Path:
        """The local copy of a file."""
        refs.check_manifest_path(path)  # a value may name any path
        if not Path(self._root, path).exists():
            self._run.file(path).download(self._root, exist_ok=True).close()
        return Path(self._root, path)

    def prefetch(self, paths: Collection[str]) -> None:
        """Downloads many files."""
        missing = {path for path in paths if not Path(self._root, refs.check_manifest_path(path)).exists()}
        if len(missing) > _FEW:
            found = [file for file in self._run.files(pattern="media/%") if file.name in missing]
            download_all(found, self._root)
