"""Which files `run.save` names, and when they are to be sent."""

from __future__ import annotations

import glob
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePath
from typing import NamedTuple

from modelyard.host import disk_space, forking, terminal

POLICIES = ("live", "end", "now")
LOOK_SECONDS = 2.0
"""How often files with the policy `live` are looked at."""
MOVING_SECONDS = 60.0
"""A file that changes all the time is sent about this often, others when they rest for one look."""
STOP_SECONDS = 5.0
"""How long `stop` waits for a disk."""
Status = tuple[int, int]

_log = logging.getLogger(__name__)


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
    """Calls `send` with the path and the source of a file whenever its policy says so; from any thread.

    `now`: once. `live`: at once and after changes. `end`: when the run ends.
    """

    def __init__(self, send: Callable[[str, str, bool], None]) -> None:
        """The third argument of `send` is False for a file that is to be sent at the end only."""
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
        if policy == "now":
            self._files.pop(path, None)
            self._send(path, str(source), True)
            return
        self._send(path, str(source), policy == "live")
        self._files[path] = _File(source, policy, _status(source) if policy == "live" else None)
        if policy == "live" and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="modelyard-files", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Sends what changed and what is to be sent at the end."""
        self._stopped.set()
        last = threading.Thread(target=self._end, name="modelyard-files-end", daemon=True)
        last.start()
        last.join(STOP_SECONDS)
        if last.is_alive():
            terminal.termwarn("files of run.save are not sent: their disk does not answer")

    def _work(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            for path, file in list(self._files.items()):
                if file.policy == "live":
                    self._look(path, file)

    def _look(self, path: str, file: _File) -> None:
        status, before = _status(file.source), file.seen
        file.seen = status
        rests = status == before or time.monotonic() - file.sent_at > MOVING_SECONDS
        if status is not None and status != file.sent and rests:
            self._pass_on(path, file, status)

    def _end(self) -> None:
        for path, file in list(self._files.items()):
            status = _status(file.source)
            if status is not None and status != file.sent:
                self._pass_on(path, file, status)

    def _pass_on(self, path: str, file: _File, status: Status) -> None:
        file.sent, file.sent_at = status, time.monotonic()
        try:
            self._send(path, str(file.source), True)
        except Exception:  # a defect of this code must not end the thread
            _log.info("the file %s was not kept", path, exc_info=True)


class _File:
    """A file that is sent later, or again."""

    def __init__(self, source: Path, policy: str, sent: Status | None) -> None:
        self.source = source
        self.policy = policy
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
