"""Compares files on this machine with a version's manifest, without downloading."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.contract.chunking import chunk_digest

if TYPE_CHECKING:
    from modelyard.artifacts.entries import ArtifactEntry
    from modelyard.rpc import records
    from modelyard.rpc.connection import Connection
    from modelyard.rpc.records import FileEntry

PART_PREFIX = ".modelyard-"
"""Files of interrupted downloads start so; they are no content."""


def verify(connection: Connection, version: records.Version, root: Path) -> None:
    """Raises ValueError naming the first file below `root` that is missing, differs or does not belong."""
    from modelyard.transfer.transfer import whole_manifest

    entries = whole_manifest(connection, version)
    known = {entry.path for entry in entries}
    if not root.is_dir():
        raise ValueError(f"there is no folder {str(root)!r}: download {version.ref} first")
    for folder, folders, names in os.walk(root, onerror=_refuse):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*names, *links]):
            path = Path(folder, name).relative_to(root).as_posix()
            if path not in known and not name.startswith(PART_PREFIX):
                raise ValueError(f"{path!r} in {str(root)!r} is not part of {version.ref}")
    for entry in entries:
        if not entry.uri:
            _verify_file(entry, root / entry.path, version.ref)


def _refuse(error: OSError) -> None:
    raise ValueError(f"{error.filename!r} cannot be read ({error.strerror})") from error


def _verify_file(entry: FileEntry, place: Path, ref: str) -> None:
    if not place.is_file():
        raise ValueError(f"{entry.path!r} of {ref} is missing in {str(place.parent)!r}")
    if not holds(entry, place):
        raise ValueError(f"{str(place)!r} is not what {ref} holds: its digest differs")


def holds(entry: FileEntry, place: Path) -> bool:
    """Whether a file has the content of an entry, chunk by chunk."""
    if place.stat().st_size != entry.size:
        return False
    with open(place, "rb") as file:
        return all(chunk_digest(file.read(chunk.size)) == chunk.digest for chunk in entry.chunks)


def same_content(entry: ArtifactEntry, place: Path) -> bool:
    """Whether a file has the content that a logged version has at an entry."""
    return entry.ref is None and holds(entry._content, place)
