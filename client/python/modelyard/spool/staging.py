"""Copies of files that are sent later, in the folder of their run.

artifacts/<id>/files.json    path and name of each copy, and the references
artifacts/<id>/<number>      the copies
artifacts/<id>/version.json  the version that was made of them
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.contract import errors
from modelyard.host import disk_space
from modelyard.host.file_copies import clone
from modelyard.host.local_files import LocalFile
from modelyard.spool.json_files import read_json, replace_json

REMEDY = "set MODELYARD_DIR to a folder on another disk"
_FILES, _VERSION = "files.json", "version.json"


class Stage:
    """The copies for one call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy(self, files: Sequence[LocalFile], references: Sequence[dict[str, Any]]) -> None:
        """Copies files, or shares their blocks until either side changes.

        Errors: LocalDiskFull before the first byte where they surely do not fit,
        LocalFileError for a file that changes meanwhile, OSError; then there are no copies.
        """
        self.folder.mkdir(parents=True)
        sizes = [os.path.getsize(file.source) for file in files]
        left = sum(sizes)
        try:
            for number, file in enumerate(files):
                _copy(Path(file.source), self.folder / str(number), left)
                left -= sizes[number]
            names = [[file.path, str(number)] for number, file in enumerate(files)]
            replace_json(self.folder / _FILES, {"files": names, "references": list(references)})
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def files(self) -> list[LocalFile]:
        """The copies, by their paths in the manifest."""
        kept = read_json(self.folder / _FILES)
        return [LocalFile(path, self.folder / name) for path, name in kept["files"]]

    def references(self) -> list[dict[str, Any]]:
        """The references, as `copy` got them."""
        return list(read_json(self.folder / _FILES)["references"])

    @property
    def version_id(self) -> str:
        """The global id of the version that was made; empty before."""
        return str(read_json(self.folder / _VERSION).get("id", ""))

    def keep_version(self, version_id: str) -> None:
        """Records which version was made."""
        replace_json(self.folder / _VERSION, {"id": version_id})


def _copy(source: Path, target: Path, needed: int) -> None:
    with open(source, "rb") as reader, open(target, "xb") as writer:
        before = os.fstat(reader.fileno())
        if not clone(reader.fileno(), writer.fileno()):
            with disk_space.writing(target.parent, needed, REMEDY):
                shutil.copyfileobj(reader, writer, 1 << 20)
                writer.flush()
        after = os.fstat(reader.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise errors.LocalFileError(f"{str(source)!r} changed while it was copied")
