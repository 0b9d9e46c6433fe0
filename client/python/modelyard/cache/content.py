"""Downloaded files by digest, shared by the processes of a user.

A download writes directly to its target, so a cold cache costs no second write.
Then the cache stores a clone (reflink) of the file if the file system supports
it, else a hard link, else (on another file system) a copy. A hard link shares
its bytes with the user's file, which the user may change. Therefore the cache
does not trust its content: files are cloned or copied out of it, every chunk is
verified, and a file that does not match is deleted and downloaded. It never
returns a hard link, so files of two folders are independent.

    content/<first two hex digits>/<file digest>    the files
    manifests/, versions/                           see `version_index`
    logged.sqlite                                   see `upload_index`
    drafts/                                         see `artifacts.draft_copies`
    roots/<digest of the folder's path>.json        files of a folder, with size, time and inode
    locks/<two hex digits>                          one download of a version at a time

All of it is optional: a file that cannot be read, written or locked is reported
once and skipped. Only files with names of the cache are ever deleted.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelyard.cache.folder_index import FolderIndex
from modelyard.cache.storage import best_effort, report, write_whole
from modelyard.cache.upload_index import UploadIndex
from modelyard.cache.version_index import VersionIndex
from modelyard.configuration.settings import Settings
from modelyard.contract.chunking import Chunk, chunk_digest
from modelyard.host import disk_space
from modelyard.host.file_copies import can_clone, clone, write_at
from modelyard.rpc.records import FileEntry

DEFAULT_BYTES = 20 << 30
KEPT_SHARE = 0.9
"""How full the cache is after an eviction."""
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP}
_FOLDER_NAME = re.compile(r"[0-9a-f]{2}")
_FILE_NAME = re.compile(r"[0-9a-f]{64}(\.[0-9]+)?")
"""Names of files: a file's digest, with the process id while it is copied."""


class Cache:
    """A bounded store of files, which evicts the least recently used.

    `folder` is by default `files` in the user's cache folder, `max_bytes` 20 GiB. A
    file larger than half of that is not stored. A folder that cannot be used is
    reported once, and work continues without it.
    """

    def __init__(self, folder: Path | None = None, *, max_bytes: int = DEFAULT_BYTES) -> None:
        self.folder = folder or Settings().cache_root
        self.max_bytes = max_bytes
        self._content = os.fspath(self.folder / "content")
        self._added = False
        self._clones = True
        self._takes_more = True
        with best_effort(self.folder):
            for name in ("content", "roots", "locks"):
                (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    def upload_index(self) -> UploadIndex:
        """The index of files that were logged before."""
        return UploadIndex(self.folder / "logged.sqlite")

    def version_index(self) -> VersionIndex:
        """The index of versions that were downloaded before."""
        return VersionIndex(self.folder)

    def folder_index(self, root: Path) -> FolderIndex:
        """The index of what downloads put into a folder."""
        key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
        return FolderIndex(self.folder / "roots" / f"{key}.json")

    @contextmanager
    def lock(self, version_digest: str) -> Iterator[None]:
        """A lock of one process that downloads a version.

        Others wait for it and then find the version here.
        """
        # 256 locks for all versions keep the files few; waiting for another version does no harm.
        with self._locked(version_digest[:2]):
            yield

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        # Without a lock two processes may do the same work; the files of both are complete.
        file = -1
        with best_effort(self.folder):
            file = os.open(self.folder / "locks" / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if file >= 0:
                os.close(file)

    def holds(self, entry: FileEntry) -> bool:
        """Whether there is a file with the entry's digest; `take` verifies it."""
        return os.path.exists(self._path(entry))

    def take(self, entry: FileEntry, target: int) -> bool:
        """Writes a file's content into the empty file `target` (a descriptor); False if it is not cached.

        Errors: OSError of the target.
        """
        source = self._open(entry)
        if source < 0:
            return False
        try:
            whole = copy_checked(entry, source, target, clones=self._clones)
            if not whole:
                os.ftruncate(target, 0)
                self._drop(entry.digest.hex())
        finally:
            os.close(source)
        return whole

    def _open(self, entry: FileEntry) -> int:
        """Descriptor of the entry's file; -1 if it is not cached."""
        source = -1
        with best_effort(self.folder), suppress(FileNotFoundError):
            source = os.open(self._path(entry), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if source < 0:
            return source
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            os.close(source)
            return -1
        if found.st_nlink == 1:
            # Marks the use. Not for a hard link to a user's file: setting a time at the wrong moment could
            # hide a write to it, and reading marks the use well enough.
            with suppress(OSError):
                os.utime(source, ns=(time.time_ns(), found.st_mtime_ns))
        return source

    def clones_into(self, folder: int) -> bool:
        """Whether a copy from the cache into an open folder shares its blocks."""
        try:
            same = os.stat(self._content).st_dev == os.fstat(folder).st_dev
        except OSError:
            return False
        return same and can_clone(folder)

    def add(self, entry: FileEntry, source: int, folder: int, name: str) -> None:
        """Adds a downloaded file, which is open as `source` and named `name` in the open `folder`."""
        size = entry.size or 0
        if size > self.max_bytes // 2 or not self._takes_more:
            return
        try:
            path = self._path(entry)
            cloned = self._clones and self._add_clone(source, path)
            if not cloned and not self._add_link(folder, name, path) and not self.holds(entry):
                disk_space.require(self.folder, size, "set MODELYARD_CACHE_DIR")
                write_whole(path, lambda file: _copy(source, file))
            self._added = True
        except OSError as error:
            # Later files would fail in the same way: do not try them.
            self._takes_more = False
            report(self.folder, error)

    def _add_clone(self, source: int, path: str) -> bool:
        # Not tried again once refused: with thousands of small files the attempts would dominate.
        self._clones = write_whole(path, lambda file: clone(source, file))
        return self._clones

    def _add_link(self, folder: int, name: str, path: str) -> bool:
        for _ in range(2):
            try:
                os.link(name, path, src_dir_fd=folder, follow_symlinks=False)
                return True
            except FileExistsError:  # another process stored the same content first
                return True
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            except OSError as error:
                if error.errno in _NO_LINK:
                    return False
                raise
        return False

    def trim(self) -> None:
        """Evicts the least recently used files if there are more than `max_bytes`."""
        if not self._added:
            return
        self._added = False
        with self._locked("trim"), best_effort(self.folder):
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
            if not _FOLDER_NAME.fullmatch(folder.name) or not folder.is_dir(follow_symlinks=False):
                continue
            for file in os.scandir(folder.path):
                # Skip files that the cache did not write.
                if not _FILE_NAME.fullmatch(file.name) or file.name[:2] != folder.name:
                    continue
                with suppress(FileNotFoundError):  # another process evicts files too
                    status = file.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        # The change time is not earlier than the time of storing.
                        used = max(status.st_atime_ns, status.st_ctime_ns)
                        found.append((used, status.st_size, file.name))
        return sorted(found)

    def _drop(self, name: str) -> None:
        with best_effort(self.folder), suppress(FileNotFoundError):
            os.unlink(f"{self._content}/{name[:2]}/{name}")

    def _path(self, entry: FileEntry) -> str:
        name = entry.digest.hex()
        return f"{self._content}/{name[:2]}/{name}"


def copy_checked(entry: FileEntry, source: int, target: int, *, clones: bool) -> bool:
    """Clones or copies an open file into the empty `target`; False if its content is not the entry's.

    Errors: OSError of the target.
    """
    if clones and clone(source, target):
        good = (chunk_digest(data) == chunk.digest for chunk, data in _chunks(entry, target))
        return os.fstat(target).st_size == entry.size and all(good)
    offset = 0
    for chunk, data in _chunks(entry, source):
        if chunk_digest(data) != chunk.digest:
            return False
        write_at(target, data, offset)
        offset += chunk.size
    return True


def _copy(source: int, target: int) -> bool:
    offset = 0
    while data := os.pread(source, 1 << 20, offset):
        write_at(target, data, offset)
        offset += len(data)
    return True


def _chunks(entry: FileEntry, file: int) -> Iterator[tuple[Chunk, bytes]]:
    """Each chunk of the entry with the bytes of an open file at its offset; no bytes if unreadable."""
    offset = 0
    for chunk in entry.chunks:
        data = b""
        with suppress(OSError):
            data = os.pread(file, chunk.size, offset)
        yield chunk, data
        offset += chunk.size
