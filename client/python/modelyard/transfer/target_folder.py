"""The folder of a download; nothing is written outside of it.

Paths are opened folder by folder and never through a symbolic link, so that neither
a hostile manifest nor a link that is created meanwhile can redirect a write.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from modelyard.contract import errors
from modelyard.rpc.records import FileEntry

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FOLDERS = 64


class TargetFolder:
    """An open root folder, created when it does not exist. Safe for threads."""

    def __init__(self, root: Path) -> None:
        self.is_new = False
        """Whether it is empty, so that no file needs to be checked. Set when the folder is entered."""
        self._path = root
        self._made = _make(root)
        self._lock = threading.RLock()
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._parents: OrderedDict[str, int] = OrderedDict()
        self._inside = 0
        self._left: list[int] = []
        """Evicted folders, kept open until no thread uses them."""

    def __enter__(self) -> TargetFolder:
        # One download at a time in a folder. On network file systems without locks two downloads may
        # do the same work twice; each still ends with whole files.
        with suppress(OSError):
            fcntl.flock(self._root, fcntl.LOCK_EX)
        # Checked after the lock: another download may have filled it meanwhile.
        with os.scandir(self._root) as found:
            self.is_new = next(found, None) is None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            for descriptor in (*self._left, *self._parents.values(), self._root):
                os.close(descriptor)
            self._parents.clear()
            self._left.clear()

    def status(self, path: str) -> os.stat_result | None:
        """The status of a path, without following a link; None if nothing is there."""
        try:
            with self.inside(path) as parent:
                return os.stat(_leaf(path), dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, path: str) -> int | None:
        """Descriptor of a regular file, for reading; None when there is none."""
        try:
            return self._open_regular(path, _leaf(path), os.O_RDONLY)
        except FileNotFoundError:
            return None

    def open_part(self, entry: FileEntry, *, make: bool = True) -> int | None:
        """Descriptor of the entry's part file; None if it does not exist and is not to be created."""
        flags = os.O_RDWR | (os.O_CREAT if make else 0)
        try:
            return self._open_regular(entry.path, _part(entry), flags)
        except FileNotFoundError:
            return None

    def finish(self, entry: FileEntry) -> None:
        """Renames the part file to its path."""
        with self.inside(entry.path) as parent:
            try:
                os.replace(_part(entry), _leaf(entry.path), src_dir_fd=parent, dst_dir_fd=parent)
            except IsADirectoryError:
                raise errors.Error(f"{entry.path!r} cannot be written: a folder has its name") from None

    @property
    def descriptor(self) -> int:
        """Descriptor of the root folder."""
        return self._root

    def gathered_bytes(self, entry: FileEntry) -> int:
        """Bytes on the disk of the entry's part file."""
        with suppress(FileNotFoundError), self.inside(entry.path) as parent:
            found = os.stat(_part(entry), dir_fd=parent, follow_symlinks=False)
            return found.st_blocks * 512
        return 0

    def replaced_bytes(self, entry: FileEntry) -> int:
        """Bytes on the disk that are freed when the entry replaces the present file."""
        found = self.status(entry.path)
        return found.st_blocks * 512 if found is not None and found.st_nlink == 1 else 0

    def discard_all(self, entries: Sequence[FileEntry]) -> None:
        """Deletes all part files, and the folders that were created for them."""
        for entry in entries:
            with suppress(OSError):
                self.discard(entry)
        if self.is_new:
            for folder, _, _ in os.walk(self._path, topdown=False):
                if self._made or Path(folder) != self._path:
                    with suppress(OSError):  # holds files that are complete
                        os.rmdir(folder)

    def discard(self, entry: FileEntry) -> None:
        """Deletes the entry's part file."""
        with suppress(FileNotFoundError), self.inside(entry.path) as parent:
            os.unlink(_part(entry), dir_fd=parent)

    @contextmanager
    def inside(self, path: str) -> Iterator[int]:
        """The open folder that holds a path; made when it does not exist."""
        # Without the lock: most of a file's cost is in here, and several threads do it.
        with self._lock:
            parent = self._parent(path)
            self._inside += 1
        try:
            yield parent
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    while self._left:
                        os.close(self._left.pop())

    def _open_regular(self, path: str, name: str, flags: int) -> int | None:
        try:
            # O_NONBLOCK: opening a pipe must not wait for its other end.
            flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            with self.inside(path) as parent:
                descriptor = os.open(name, flags, 0o666, dir_fd=parent)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:
                return None
            raise
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None

    def _parent(self, path: str) -> int:
        folder = path.rpartition("/")[0]
        if not folder:
            return self._root
        known = self._parents.get(folder)
        if known is not None:
            self._parents.move_to_end(folder)
            return known
        above = self._parent(folder)
        opened = self._enter(above, _leaf(folder), folder)
        self._parents[folder] = opened
        if len(self._parents) > _OPEN_FOLDERS:
            self._left.append(self._parents.popitem(last=False)[1])
        return opened

    def _enter(self, above: int, name: str, path: str) -> int:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
        try:
            return os.open(name, _FOLDER, dir_fd=above)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise errors.Error(
                    f"{path!r} cannot be written: a file or a symbolic link is in its place"
                ) from None
            raise


def _make(root: Path) -> bool:
    """Creates a folder; False when it exists."""
    try:
        root.mkdir(parents=True)
    except FileExistsError:
        if not root.is_dir():
            raise
        return False
    return True


def _leaf(path: str) -> str:
    return path.rpartition("/")[2]


def _part(entry: FileEntry) -> str:
    # By content, so that part files of another version are not continued.
    key = hashlib.sha256(entry.path.encode() + entry.identity).hexdigest()
    return f".modelyard-{key[:24]}.part"


def remove_others(root: Path, paths: Container[str]) -> None:
    """Removes the files and links below a folder whose paths from it are not among `paths`."""
    for folder, folders, files in os.walk(root):  # links to folders are not entered
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for path in (Path(folder, name) for name in [*files, *links]):
            if path.relative_to(root).as_posix() not in paths:
                path.unlink()
