"""Copies of the files of drafts that are not logged yet, in the folder of the cache.

    drafts/modelyard-draft-<random>/lock    held for as long as its process lives
    drafts/modelyard-draft-<random>/<n>/    the files of one draft

The copies are deleted with the draft, and all copies of a process when it ends.
The folders of killed processes are deleted by the next process that uses the
cache: their lock is free. On systems without locks nothing of other processes
is deleted. If the cache folder cannot be written, the folder for temporary
files is used.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelyard.artifacts import active_run
from modelyard.cache.storage import report
from modelyard.host import disk_space
from modelyard.host.file_copies import clone

PREFIX = "modelyard-draft-"
REMEDY = "set MODELYARD_CACHE_DIR to a folder on another disk; with policy='immutable' nothing is copied"
_LOCK = "lock"
_ATTEMPTS = 10


class DraftCopies:
    """The copies of one draft. The folder is made with the first copy and deleted with the draft."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._numbers = itertools.count()

    def __reduce__(self) -> tuple[type[DraftCopies], tuple[()]]:
        # The copies belong to the process that made them.
        return DraftCopies, ()

    def copy(self, source: Path) -> Path:
        """Copies a file, or shares its blocks until either side changes. Errors: LocalDiskFull, OSError."""
        target = self._new_path()
        try:
            with open(source, "rb") as reader, open(target, "xb") as writer:
                if not clone(reader.fileno(), writer.fileno()):
                    with disk_space.writing(target.parent, os.fstat(reader.fileno()).st_size, REMEDY):
                        shutil.copyfileobj(reader, writer, 1 << 20)
                        writer.flush()
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return target

    def has(self, path: Path) -> bool:
        """Whether a file is one of these copies."""
        return self._folder is not None and path.parent == self._folder

    @contextmanager
    def new_file(self) -> Iterator[Path]:
        """A path for a file that the block writes. Errors: LocalDiskFull."""
        target = self._new_path()
        try:
            with disk_space.explained(target.parent, 0, REMEDY):
                yield target
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _new_path(self) -> Path:
        if self._folder is None:
            process = _process_folder()
            self._folder = process.new_folder()
            weakref.finalize(self, process.remove, self._folder)
        return self._folder / str(next(self._numbers))


class _ProcessFolder:
    """The locked folder with the copies of this process."""

    def __init__(self, base: Path) -> None:
        self._pid = os.getpid()
        self._numbers = itertools.count()
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep(base)
        self._path = _new_locked_folder(base)
        atexit.register(self.remove, self._path)

    def new_folder(self) -> Path:
        """A folder for one draft."""
        folder = self._path / str(next(self._numbers))
        folder.mkdir(parents=True)
        return folder

    def remove(self, folder: Path) -> None:
        """Removes the folder or a part of it; does nothing in a forked child, whose parent owns it."""
        if os.getpid() == self._pid:
            shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def sweep(base: Path) -> None:
    """Removes the folders of killed processes; once for each folder and process."""
    with suppress(ImportError, OSError):
        import fcntl  # not on every system: without locks nothing is removed

        for entry in os.scandir(base):
            if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            if entry.stat(follow_symlinks=False).st_uid == os.getuid():
                _remove_if_dead(Path(entry.path), fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def folder_in(cache_root: Path) -> Path:
    """The folder for copies in a cache folder."""
    return cache_root / "drafts"


def _process_folder() -> _ProcessFolder:
    base = folder_in(active_run.settings().cache_root)
    with disk_space.explained(base, 0, REMEDY):
        try:
            return _process_folder_in(base, os.getpid())
        except OSError as error:
            if error.errno in disk_space.FULL:
                raise
            report(base.parent, error)
        return _process_folder_in(Path(tempfile.gettempdir()), os.getpid())


@functools.cache
def _process_folder_in(base: Path, pid: int) -> _ProcessFolder:
    # The pid is in the key: a forked child gets a folder of its own, which it may remove.
    return _ProcessFolder(base)


def _new_locked_folder(base: Path) -> Path:
    for _ in range(_ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        if _hold(folder):
            return folder
    raise OSError(f"no folder in {base} could be locked")


def _hold(folder: Path) -> bool:
    """Locks a folder until this process ends; False when another process removes it as abandoned."""
    try:
        file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return False
    try:
        import fcntl  # not on every system

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    except (ImportError, OSError):
        return True  # no locks here: then no other process can remove it either
    return os.path.exists(folder / _LOCK)


def _remove_if_dead(folder: Path, lock: Callable[[int, int], None], how: int) -> None:
    try:
        file = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        # Its process was killed before it made the lock, or is about to make it: it then uses another folder.
        with suppress(OSError):
            folder.rmdir()
        return
    except OSError:  # a link, or not readable: not made by this module
        return
    try:
        with suppress(OSError):  # its process is running
            lock(file, how)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(file)
