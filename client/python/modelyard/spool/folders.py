"""The local folder of a run: its files, its spools, and what `modelyard sync` has to know.

<dir>/modelyard/run-YYYYMMDD_HHMMSS-<id>/     offline: offline-run-…
    run.json          which run this is, and on which server
    files/            `run.dir`
    lock              held by the process that sends the spools
    spool/            rows, fields and all else that is sent in order; see `writer`
    sent.json         how far they are sent
    file-spool/       FILE records, which are sent beside the others
    file-sent.json    how far they are sent
    artifacts/        see `staging`
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelyard.host import file_locks, terminal
from modelyard.host.file_locks import FileLock
from modelyard.spool import staging
from modelyard.spool.json_files import read_json, replace_json
from modelyard.spool.reader import Position
from modelyard.spool.writer import ALIVE

ONLINE, OFFLINE = "run-", "offline-run-"
_INFO, _LOCK, _FILES, _STAGES = "run.json", "lock", "files", "artifacts"
_ROW_SPOOLS = ("spool", "sent.json")
_FILE_SPOOLS = ("file-spool", "file-sent.json")
_NAMES = 1_000


class Spools:
    """The spools of one kind in the folder of a run, one of each writer, and how far they are sent."""

    def __init__(self, path: Path, sent: Path) -> None:
        self.path = path
        self._sent = sent

    def writers(self) -> list[Path]:
        """The folders of the writers, oldest first."""
        with suppress(FileNotFoundError):
            found = [Path(entry.path) for entry in os.scandir(self.path) if entry.is_dir()]
            return sorted(found, key=lambda path: path.stat().st_ctime_ns)
        return []

    @property
    def changed(self) -> int:
        """When a writer last came or went, ns since 1970; 0 before the first."""
        with suppress(OSError):
            return self.path.stat().st_mtime_ns
        return 0

    @property
    def sent(self) -> dict[str, Any]:
        """What `keep_sent` recorded; empty where it did not."""
        return read_json(self._sent)

    @property
    def positions(self) -> dict[str, Position]:
        """Up to where each writer's records are sent."""
        return {writer: Position(*place) for writer, place in self.sent.get("positions", {}).items()}

    def keep_sent(self, positions: Mapping[str, Position], **state: Any) -> None:
        """Records up to where each writer's records are sent, and a state of the sender there.

        After a crash everything behind is sent again, which stores nothing twice. So
        there is no fsync, and a disk that takes nothing is no error.
        """
        with suppress(OSError):
            replace_json(self._sent, {"positions": dict(positions), **state})

    @property
    def last_written(self) -> float:
        """When a process last wrote or sent something, seconds since 1970; 0 where nothing was."""
        files = [self._sent, *self.path.glob("*/*.spool")]
        return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)

    def remove(self, own: Collection[str]) -> bool:
        """Removes the spools, except those of writers that may live and are not `own`; whether none is left.

        `own` are writers of this process that were closed.
        """
        for spool in self.writers():
            if spool.name in own or not is_written(spool):
                remove_spool(spool)
        with suppress(OSError):
            if self.path.exists():
                self.path.rmdir()
            self._sent.unlink(missing_ok=True)
            return True
        return False


class RunFolder:
    """The folder of one run in one process tree."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.row_spools, self.file_spools = (
            Spools(path / spools, path / sent) for spools, sent in (_ROW_SPOOLS, _FILE_SPOOLS)
        )

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @classmethod
    def make(cls, root: Path, run_id: str, *, offline: bool = False) -> RunFolder:
        """A new folder below `<root>/modelyard`; below the one for temporary files where that fails."""
        moment = time.strftime("%Y%m%d_%H%M%S")
        name = f"{OFFLINE if offline else ONLINE}{moment}-{run_id}"
        try:
            return cls(_new_folder(root / "modelyard", name))
        except OSError as error:
            other = Path(tempfile.gettempdir()) / f"modelyard-{os.getuid() if hasattr(os, 'getuid') else ''}"
            terminal.termwarn(
                f"cannot make a folder in {root}: {error.strerror or error}. The run's is made in {other}; "
                "set MODELYARD_DIR to choose another",
                repeat=False,
            )
        with suppress(OSError):
            return cls(_new_folder(other, name))
        return cls(other / name)  # the writer then keeps everything in memory

    @property
    def files(self) -> Path:
        """The folder for files of the user; made when it is asked for."""
        folder = self.path / _FILES
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def stages(self) -> Path:
        """The folder for copies of files that are sent later."""
        return self.path / _STAGES

    def lock(self) -> FileLock | None:
        """The right to send the spools; None while another process has it. Errors: OSError."""
        return FileLock.take(self.path / _LOCK)

    def lock_if_possible(self) -> FileLock | None:
        """As `lock`, without errors: a folder that cannot be written holds nothing to send."""
        try:
            return self.lock()
        except OSError:
            return None

    def is_logged_to(self) -> bool:
        """Whether a process that writes to one of the spools lives."""
        return any(is_written(spool) for kind in self._all_spools for spool in kind.writers())

    @property
    def last_written(self) -> float:
        """When a process last wrote or sent something, seconds since 1970; 0 where nothing was."""
        return max(kind.last_written for kind in self._all_spools)

    @property
    def _all_spools(self) -> tuple[Spools, ...]:
        return self.row_spools, self.file_spools

    @property
    def info(self) -> dict[str, Any]:
        """Which run this is; empty where nothing says so."""
        return read_json(self.path / _INFO)

    @property
    def is_sent(self) -> bool:
        """Whether all of a run that was offline is on a server."""
        return bool(self.info.get("sent"))

    def keep_info(self, info: Mapping[str, Any]) -> None:
        """Records which run this is. A disk that takes nothing is no error."""
        with suppress(OSError):
            replace_json(self.path / _INFO, info)

    def remove_spools(self, *own: str) -> None:
        """Removes the spools, and the folder if it holds nothing else.

        Those of writers that may live are left, except `own`, which were closed. So is
        what says which run it is, where calls about artifacts wait.
        """
        removed = [kind.remove(own) for kind in self._all_spools]
        if not all(removed):
            return
        with suppress(OSError):
            if staging.waiting(self.stages):
                return
            _remove_all(self.stages)
            for name in (_INFO, _LOCK):
                (self.path / name).unlink(missing_ok=True)
            (self.path / _FILES).rmdir()
        with suppress(OSError):
            self.path.rmdir()


def is_written(spool: Path) -> bool:
    """Whether the process that writes to a spool may live."""
    return file_locks.is_held(spool / ALIVE)


def take_ended(spool: Path) -> FileLock | None:
    """The lock of a spool whose process has ended, so that it may be removed; else None."""
    if not (spool / ALIVE).exists():
        return None
    with suppress(OSError):
        lock = FileLock.take(spool / ALIVE)
        if lock is None or lock.exclusive:
            return lock
        lock.release()
    return None


def remove_spool(spool: Path) -> None:
    """Removes a spool."""
    _remove_all(spool)


def _remove_all(folder: Path) -> None:
    import shutil  # imported when first needed: `import modelyard` stays fast

    shutil.rmtree(folder, ignore_errors=True)


def unsent(root: Path, run_id: str) -> list[RunFolder]:
    """The folders below `<root>/modelyard` of a run that hold something to send, oldest first."""
    return [folder for folder in below(root) if folder.info.get("name") == run_id]


def below(path: Path) -> list[RunFolder]:
    """The folders of runs with something to send: the path, in it, or in its `modelyard`; oldest first."""
    found = [path, *path.glob(f"*{ONLINE}*"), *path.glob(f"modelyard/*{ONLINE}*")]
    kept = [one for one in found if (one / _INFO).is_file() and _holds_records(one)]
    return [RunFolder(one) for one in sorted(kept, key=lambda one: one.name.removeprefix("offline-"))]


def _holds_records(path: Path) -> bool:
    spools = any((path / spools).is_dir() for spools, _ in (_ROW_SPOOLS, _FILE_SPOOLS))
    return spools or bool(staging.waiting(path / _STAGES))


def _new_folder(root: Path, name: str) -> Path:
    """A folder that did not exist; processes of one job may ask for the same name at once."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(_NAMES):
        path = root / (f"{name}-{number + 1}" if number else name)
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
            return path
    raise FileExistsError(f"{_NAMES} folders of the name {name}")
