"""Files that were downloaded before, by digest, shared by the processes of a user.

How a file gets in, and why so. A download goes straight to its place, so a cold
cache costs no second write. Then the cache takes a clone (reflink) of it where
the filesystem can, else a hard link, else (another filesystem) a copy. A hard
link shares its bytes with the user's file, and a user may write into that.
Therefore the cache never trusts what it holds: a file on its way out is cloned
or copied, and every chunk is checked against its digest; what does not match is
dropped and fetched from the server. And it never hands out a hard link: the
files of two folders are always independent.

    content/<first two hex digits>/<file digest>    the files
    manifests/, versions/                           see `kept_versions`
    logged.sqlite                                   see `known_files`
    roots/<digest of the folder's path>.json        what was put where, with size, time and inode
    locks/<two hex digits>                          one download of a version at a time
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from modelyard.chunking import Chunk, chunk_digest
from modelyard.folder import write_at
from modelyard.kept_versions import KeptVersions
from modelyard.known_files import KnownFiles
from modelyard.manifest import FileEntry

DEFAULT_BYTES = 20 << 30
KEPT_SHARE = 0.9
"""How full the cache is after it had to make room."""
_FICLONE = 0x40049409
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP}
_NO_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ENOSYS}


class Record:
    """What was put into one folder: a file that has not changed since need not be read again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._files: dict[str, list[int | str]] = {}
        self._changed = False
        if path is not None:
            # A record that is missing or damaged only means that files are read again.
            with suppress(OSError, ValueError):
                self._files = json.loads(path.read_text())

    def has(self, entry: FileEntry, found: os.stat_result) -> bool:
        """Whether the file is the one that was put there with the entry's content."""
        return self._files.get(entry.path) == _identity(entry, found)

    def note(self, entry: FileEntry, found: os.stat_result) -> None:
        """Remembers a file whose content was checked. Safe for threads."""
        self._files[entry.path] = _identity(entry, found)
        self._changed = True

    def save(self) -> None:
        """Writes the record if it has changed."""
        if self._path is None or not self._changed:
            return
        part = self._path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):  # as above
            part.write_text(json.dumps(self._files))
            part.replace(self._path)


def _identity(entry: FileEntry, found: os.stat_result) -> list[int | str]:
    # With the time of change, which nobody can set: `touch` and `rsync` set the other one.
    content = hashlib.sha256(entry.identity).hexdigest() if entry.uri else entry.digest.hex()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, content]


class Cache:
    """A bounded store of files; the least recently used go first.

    `folder` is by default `files` in the user's cache folder, `max_bytes`
    20 GiB. A file larger than half of that is not kept. Errors: OSError when
    the folder cannot be made.
    """

    def __init__(self, folder: Path | None = None, *, max_bytes: int = DEFAULT_BYTES) -> None:
        self.folder = folder or Path(platformdirs.user_cache_dir("modelyard", appauthor=False)) / "files"
        self.max_bytes = max_bytes
        self._content = os.fspath(self.folder / "content")
        self._added = False
        self._clones = True
        for name in ("content", "roots", "locks"):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    def known_files(self) -> KnownFiles:
        """Files that were logged before."""
        return KnownFiles(self.folder / "logged.sqlite")

    def versions(self) -> KeptVersions:
        """Versions that were downloaded before."""
        return KeptVersions(self.folder)

    def record(self, root: Path) -> Record:
        """What was put into a folder, as far as it is known."""
        key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
        return Record(self.folder / "roots" / f"{key}.json")

    @contextmanager
    def lock(self, version_digest: str) -> Iterator[None]:
        """Held by one process that downloads a version; others wait and then find it here."""
        # 256 locks for all versions: the files stay few, and a wait for another version does no harm.
        with open(self.folder / "locks" / version_digest[:2], "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def holds(self, entry: FileEntry) -> bool:
        """Whether a file with the entry's digest is here; `take` tells whether it is whole."""
        return os.path.exists(self._path(entry))

    def take(self, entry: FileEntry, target: int) -> bool:
        """Writes a file's content into the empty file `target` (descriptor); False when it is not here."""
        try:
            source = os.open(self._path(entry), os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            found = os.fstat(source)
            if found.st_nlink == 1:
                # Marks the use. A file that a user has too is left alone, since a time set at the
                # wrong moment could hide that it was written to; reading marks it well enough.
                os.utime(source, ns=(time.time_ns(), found.st_mtime_ns))
            whole = copy_checked(entry, source, target, clone=self._clones)
            if not whole:
                os.ftruncate(target, 0)
                self._drop(entry.digest.hex())
        finally:
            os.close(source)
        return whole

    def add(self, entry: FileEntry, source: int, folder: int, name: str) -> None:
        """Keeps a downloaded file: open as `source`, called `name` in the open `folder`."""
        if (entry.size or 0) > self.max_bytes // 2:
            return
        with suppress(OSError):  # a cache that cannot keep a file is no reason to fail a download
            path = self._path(entry)
            cloned = self._clones and self._add_clone(source, path)
            if not cloned and not self._add_link(folder, name, path) and not self.holds(entry):
                _write_whole(path, lambda file: _copy(source, file))
            self._added = True

    def _add_clone(self, source: int, path: str) -> bool:
        # Once refused, never tried again: with thousands of small files the attempt costs more than the rest.
        self._clones = _write_whole(path, lambda file: _clone(source, file))
        return self._clones

    def _add_link(self, folder: int, name: str, path: str) -> bool:
        for _ in range(2):
            try:
                os.link(name, path, src_dir_fd=folder, follow_symlinks=False)
                return True
            except FileExistsError:  # another download of equal content was quicker
                return True
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            except OSError as error:
                if error.errno in _NO_LINK:
                    return False
                raise
        return False

    def trim(self) -> None:
        """Drops the least recently used files when there are more than `max_bytes`."""
        if not self._added:
            return
        self._added = False
        with open(self.folder / "locks" / "trim", "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            files = self._by_use()
            total = sum(size for _, size, _ in files)
            if total <= self.max_bytes:
                return
            for _, size, name in files:
                self._drop(name)
                total -= size
                if total <= self.max_bytes * KEPT_SHARE:
                    return

    def _by_use(self) -> list[tuple[int, int, str]]:
        """Last use (ns), size and name of every file, the least recently used first."""
        found = []
        for folder in os.scandir(self._content):
            for file in os.scandir(folder.path):
                status = file.stat(follow_symlinks=False)
                # The change time is at least when it was put here.
                used = max(status.st_atime_ns, status.st_ctime_ns)
                found.append((used, status.st_size, file.name))
        return sorted(found)

    def _drop(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(f"{self._content}/{name[:2]}/{name}")

    def _path(self, entry: FileEntry) -> str:
        name = entry.digest.hex()
        return f"{self._content}/{name[:2]}/{name}"


def copy_checked(entry: FileEntry, source: int, target: int, *, clone: bool) -> bool:
    """Clones or copies an open file into the empty `target`; False when its content is not the entry's."""
    if clone and _clone(source, target):
        good = (chunk_digest(data) == chunk.digest for chunk, data in _chunks(entry, target))
        return os.fstat(target).st_size == entry.size and all(good)
    offset = 0
    for chunk, data in _chunks(entry, source):
        if chunk_digest(data) != chunk.digest:
            return False
        write_at(target, data, offset)
        offset += chunk.size
    return True


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def _write_whole(path: str, write: Callable[[int], bool]) -> bool:
    """Makes a file all at once, or not at all when `write` says False."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = f"{path}.{os.getpid()}"
    try:
        with open(part, "wb") as file:
            done = write(file.fileno())
        if done:
            os.replace(part, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)
    return done


def _copy(source: int, target: int) -> bool:
    offset = 0
    while data := os.pread(source, 1 << 20, offset):
        write_at(target, data, offset)
        offset += len(data)
    return True


def _chunks(entry: FileEntry, file: int) -> Iterator[tuple[Chunk, bytes]]:
    """Each chunk of the entry and what an open file has in its place."""
    offset = 0
    for chunk in entry.chunks:
        yield chunk, os.pread(file, chunk.size, offset)
        offset += chunk.size
