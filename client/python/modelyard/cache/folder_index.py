"""Index of the files that downloads wrote into a folder, so that unchanged ones are not read again."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from modelyard.cache.storage import best_effort, write_bytes
from modelyard.cache.upload_index import COARSE_NS, FINE_NS
from modelyard.rpc.records import FileEntry

_COARSE_CLOCK = 5
"""CLOCK_REALTIME_COARSE of Linux, which files get their times from; the time module has no name for it."""
_STEP_NS = round(time.clock_getres(_COARSE_CLOCK) * 1e9) if sys.platform == "linux" else FINE_NS
"""Resolution of the times of files where it is finer than a millisecond."""


class FolderIndex:
    """Path → status and digest of the files of one folder. Without a path it is never saved."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._files: dict[str, list[int | str]] = {}
        self._changed = False
        if path is not None:
            # Without a valid index, files are read again.
            with suppress(OSError, ValueError):
                found = json.loads(path.read_text())
                self._files = found if isinstance(found, dict) else {}

    def has(self, entry: FileEntry, found: os.stat_result) -> bool:
        """Whether the file is unchanged since it was recorded with the entry's content."""
        return self._files.get(entry.path) == _identity(entry, found)

    def has_since(self, entry: FileEntry, found: os.stat_result, time_ns: int) -> bool:
        """As `has`; False also where a write after `time_ns` need not have changed the file's times.

        Times have a resolution, and two writes within it leave the same times: those of a
        file that was changed just before `time_ns` say nothing.
        """
        step = _STEP_NS if found.st_ctime_ns % 1_000_000 else COARSE_NS
        return found.st_ctime_ns + step < time_ns and self.has(entry, found)

    def note(self, entry: FileEntry, found: os.stat_result) -> None:
        """Records a file whose content was verified. Safe for threads."""
        self._files[entry.path] = _identity(entry, found)
        self._changed = True

    def save(self) -> None:
        """Writes the index if it has changed."""
        if self._path is None or not self._changed:
            return
        data = json.dumps(self._files).encode()
        with best_effort(self._path.parent.parent):
            write_bytes(os.fspath(self._path), data)


def _identity(entry: FileEntry, found: os.stat_result) -> list[int | str]:
    # With the time of change, which nobody can set: `touch` and `rsync` set the time of modification.
    content = hashlib.sha256(entry.identity).hexdigest() if entry.uri else entry.digest.hex()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, content]
