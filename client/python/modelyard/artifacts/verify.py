"""Compares files on this machine with a version's manifest, without downloading."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelyard.artifacts.entries import has_content
from modelyard.cache.folder_index import FolderIndex
from modelyard.rpc import records
from modelyard.rpc.connection import Connection
from modelyard.rpc.manifest import whole_manifest
from modelyard.rpc.records import FileEntry

PART_PREFIX = ".modelyard-"
"""Prefix of the files of interrupted downloads, which are not compared."""


def verify(connection: Connection, version: records.Version, root: Path) -> None:
    """Raises ValueError naming the first file below `root` that is missing, differs or does not belong."""
    entries = whole_manifest(connection, version)
    if not root.is_dir():
        raise ValueError(f"there is no folder {str(root)!r}: download {version.ref} first")
    known = {entry.path for entry in entries}
    for path in _paths_below(root, root):
        if path not in known:
            raise ValueError(f"{path!r} in {str(root)!r} is not part of {version.ref}")
    for entry in entries:
        if not entry.uri:
            _verify_file(entry, root / entry.path, version.ref)


def is_unchanged(
    entries: Sequence[FileEntry], root: Path, path: Path, time_ns: int, index: FolderIndex
) -> bool:
    """Whether `path`, a file or folder below `root`, has all entries as they were downloaded.

    Files that are as `index` has them are not read; others are compared by content.
    What came from a reference is compared by size and by not being written to after
    `time_ns`, when the download had ended.
    """
    known = {entry.path for entry in entries}
    try:
        if path.is_dir() and not known.issuperset(_paths_below(path, root)):
            return False
        return all(_is_as_downloaded(entry, root / entry.path, time_ns, index) for entry in entries)
    except (OSError, ValueError):  # a file that cannot be read is not as it was downloaded
        return False


def _is_as_downloaded(entry: FileEntry, path: Path, time_ns: int, index: FolderIndex) -> bool:
    status = path.stat()
    if not entry.uri:
        is_known = index.has_since(entry, status, time_ns)
        return stat.S_ISREG(status.st_mode) and (is_known or has_content(path, entry))
    return status.st_mtime_ns <= time_ns and entry.size in {None, status.st_size}


def _paths_below(folder: Path, root: Path) -> Iterator[str]:
    """Paths relative to `root` of all files and links to folders, without interrupted downloads."""
    for current, folders, names in os.walk(folder, onerror=_refuse):
        links = [name for name in folders if os.path.islink(os.path.join(current, name))]
        for name in sorted([*names, *links]):
            if not name.startswith(PART_PREFIX):
                yield Path(current, name).relative_to(root).as_posix()


def _refuse(error: OSError) -> None:
    raise ValueError(f"{error.filename!r} cannot be read ({error.strerror})") from error


def _verify_file(entry: FileEntry, path: Path, ref: str) -> None:
    if not path.is_file():
        raise ValueError(f"{entry.path!r} of {ref} is missing in {str(path.parent)!r}")
    if not has_content(path, entry):
        raise ValueError(f"{str(path)!r} differs from the content of {ref}")
