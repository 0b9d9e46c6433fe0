"""Which files `run.save` names, and when they are to be sent."""

from __future__ import annotations

import glob
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePath
from typing import NamedTuple

from modelyard.host import disk_space, forking

POLICIES = ("live", "end", "now")
LOOK_SECONDS = 2.0
"""How often files with the policy `live` are looked at."""
MOVING_SECONDS = 60.0
"""A file that changes all the time is sent about this often, others when they rest for one look."""
Status = tuple[int, int]


class Match(NamedTuple):
    """A file of the user, and its path among those of the run."""

    source: Path
    path: str


def matches(pattern: str, base: str | None) -> list[Match]:
    """The files that a pattern names, by path.

    Without `base`, a relative pattern keeps its folders, an absolute one the last of
    them. ValueError for a pattern that leaves the base.
    """
    whole = PurePath(pattern)
    if base is None:
        base = str(whole.parent.parent) if whole.is_absolute() else "."
    root = os.path.abspath(base)
    if ".." in PurePath(os.path.relpath(os.path.abspath(pattern), root)).parts:
        raise ValueError(f"save: {pattern!r} leaves the base path {root!r}")
    found = sorted(match for match in glob.glob(pattern, recursive=True) if os.path.isfile(match))
    return [Match(Path(os.path.abspath(one)), _relative(os.path.abspath(one), root)) for one in found]


def place(match: Match, folder: Path, *, copied: bool) -> Path:
    """Puts a file into the folder of the run's files, as a link or a copy, and returns where it is.

    Errors: LocalDiskFull, OSError.
    """
    target = folder / match.path
    if match.source == target:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    if not copied:
        with suppress(OSError):  # links need a right on Windows
            if target.is_symlink() or target.exists():
                target.unlink()
            target.symlink_to(match.source)
            return target
    if target.is_symlink():
        target.unlink()
    return Path(disk_space.copy(match.source, target, "set MODELYARD_DIR"))


class SavedFiles:
    """Calls `send` with path, source and policy of each file, and again when one with `live` has changed.

    What changes after `stop`, and files with the policy `end`, are left to the sender.
    """

    def __init__(self, send: Callable[[str, str, str], None]) -> None:
        self._send = send
        self._reset()
        forking.inherit(self)

    def _reset(self) -> None:
        self._files: dict[str, _File] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def forget_parent(self) -> None:
        """In a forked child: the parent looks after its files."""
        self._reset()

    def add(self, source: Path, path: str, policy: str) -> None:
        """Takes a file; a later policy for the same path replaces the earlier one."""
        self._files.pop(path, None)
        status = _status(source) if policy == "live" else None  # before it is sent
        self._send(path, str(source), policy)
        if policy != "live":
            return
        self._files[path] = _File(source, status)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="modelyard-saved-files", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Looks at no file any more."""
        self._stopped.set()

    def _work(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            for path, file in list(self._files.items()):
                self._look(path, file)

    def _look(self, path: str, file: _File) -> None:
        status, before = _status(file.source), file.seen
        file.seen = status
        rests = status == before or time.monotonic() - file.sent_at > MOVING_SECONDS
        if status is not None and status != file.sent and rests:
            file.sent, file.sent_at = status, time.monotonic()
            self._send(path, str(file.source), "live")


class _File:
    """A file that is sent again after changes."""

    def __init__(self, source: Path, sent: Status | None) -> None:
        self.source = source
        self.sent = sent
        self.sent_at = time.monotonic()
        self.seen = sent


def _status(path: Path) -> Status | None:
    """Size and time of the last change; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _relative(path: str, root: str) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")
