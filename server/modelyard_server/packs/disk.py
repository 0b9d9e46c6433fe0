"""Packs as files of a local folder: `packs/<entity id>/<pack id>`, `tmp/`, `store-id`."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelyard.contract import errors
from modelyard_server import failpoints
from modelyard_server.packs.store import (
    Bytes,
    OpenPack,
    PackExists,
    PackInfo,
    PackMissing,
    PackStore,
    StoreRefused,
)

_SYNC_FILE_RANGE_WRITE = 2
_START_BYTES = 4 << 20
_REFUSALS = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG}


@contextmanager
def _translated() -> Iterator[None]:
    """Turns the operating system's errors into the store's."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise errors.DiskFull("the server's disk is full") from error
        code = errno.errorcode.get(error.errno or 0, "unknown error")
        kind = StoreRefused if error.errno in _REFUSALS else errors.StoreUnavailable
        raise kind(f"the store's folder could not be used: {code}") from error


class DiskStore(PackStore):
    """A store in a folder, which is made if absent."""

    holds_bytes = False

    def __init__(self, root: Path) -> None:
        self._root = root
        self._packs = root / "packs"
        self._tmp = root / "tmp"
        self._durable_folders: set[Path] = set()
        with _translated():
            is_new = not root.exists()
            for folder in (self._packs, self._tmp):
                folder.mkdir(parents=True, exist_ok=True)
            _fsync_folder(root)
            if is_new:
                _fsync_folder(root.absolute().parent)

    def open(self) -> OpenPack:
        with _translated():
            return _DiskPack(self, self._tmp / str(uuid.uuid4()))

    def free_bytes(self) -> int | None:
        with _translated():
            found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    def clean(self) -> int:
        """Temporary files that no living process holds locked are removed."""
        with _translated():
            return sum(_remove_if_unlocked(path) for path in self._tmp.iterdir())

    def store_id(self) -> str | None:
        with _translated():
            try:
                return (self._root / "store-id").read_text().strip()
            except FileNotFoundError:
                self._require_folder()
                return None

    def path(self, key: str) -> Path:
        """Where the pack of this key lies."""
        return self._root / key

    def make_folder(self, folder: Path) -> None:
        """Makes an entity's folder and its entry in `packs` durable, once."""
        if folder in self._durable_folders and folder.is_dir():  # else somebody removed it
            return
        folder.mkdir(exist_ok=True)  # no parents: a volume that was unmounted must not come back empty
        _fsync_folder(folder.parent)
        self._durable_folders.add(folder)

    def _open_range(self, key: str, offset: int, length: int) -> Bytes:
        return _DiskRange(self, key, offset)

    def pread(self, key: str, length: int, offset: int) -> bytes:
        """Bytes of a pack, fewer where it ends. Errors: PackMissing, StoreUnavailable."""
        with _translated():
            try:
                descriptor = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise self._missing(key) from None
            try:
                return os.pread(descriptor, length, offset)
            finally:
                os.close(descriptor)

    def _stat(self, key: str) -> PackInfo:
        with _translated():
            try:
                found = self.path(key).stat()
            except FileNotFoundError:
                raise self._missing(key) from None
        return _info(key, found)

    def _delete(self, key: str) -> None:
        path = self.path(key)
        with _translated():
            try:
                path.unlink()
            except FileNotFoundError:
                self._require_folder()
            else:
                _fsync_folder(path.parent)

    def _list(self, prefix: str) -> Iterator[PackInfo]:
        entity = prefix.split("/")[1]
        for folder in [entity] if entity else self._names("packs"):
            for name in self._names(f"packs/{folder}"):
                key = f"packs/{folder}/{name}"
                with _translated():
                    try:
                        found = self.path(key).stat()
                    except FileNotFoundError:  # deleted since the folder was read
                        continue
                yield _info(key, found)

    def _names(self, folder: str) -> list[str]:
        with _translated():
            try:
                names = os.listdir(self._root / folder)
            except FileNotFoundError:
                self._require_folder()
                return []
        return sorted(names, key=lambda name: name + "/")

    def _write_store_id(self, store_id: str) -> None:
        temporary = self._tmp / str(uuid.uuid4())
        with _translated():
            try:
                with open(temporary, "x") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    file.write(store_id + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                    temporary.rename(self._root / "store-id")
                _fsync_folder(self._root)
            finally:
                temporary.unlink(missing_ok=True)

    def _missing(self, key: str) -> PackMissing:
        self._require_folder()
        return PackMissing(key)

    def _require_folder(self) -> None:
        """A volume that is not mounted leaves an empty folder: that is no answer."""
        if not self._packs.is_dir():
            raise errors.StoreUnavailable("the store's folder is not there")


class _DiskRange:
    """Opens the file anew for each read.

    That costs some microseconds beside the hundreds that a read of 1 MiB takes;
    kept descriptors would hold deleted packs' space.
    """

    def __init__(self, store: DiskStore, key: str, offset: int) -> None:
        self._store = store
        self._key = key
        self._at = offset

    def read(self, size: int) -> bytes:
        data = self._store.pread(self._key, size, self._at)
        self._at += len(data)
        return data

    def close(self) -> None:
        return


class _DiskPack(OpenPack):
    """A temporary file, locked for as long as its process lives."""

    def __init__(self, store: DiskStore, temporary: Path) -> None:
        self._store = store
        self._temporary = temporary
        self._closing = threading.Lock()
        self._started = 0
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        self._descriptor: int | None = os.open(temporary, flags, 0o640)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def discard(self) -> None:
        with self._closing:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with _translated():
            try:
                self._temporary.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    def _append(self, data: bytes | memoryview) -> None:
        descriptor = self._require_open()
        rest = memoryview(data)
        with _translated():
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        end = self.size + len(data)
        if end - self._started >= _START_BYTES:
            _start_writing(descriptor, self._started, end - self._started)
            self._started = end

    def _put(self, key: str) -> None:
        descriptor = self._require_open()
        path = self._store.path(key)
        with _translated():
            self._store.make_folder(path.parent)
            failpoints.hit("disk.before_fsync")
            os.fsync(descriptor)
            if path.exists():
                raise PackExists(key)
            failpoints.hit("disk.before_rename")
            self._temporary.rename(path)
            failpoints.hit("disk.after_rename")
            _fsync_folder(path.parent)
        self.discard()

    def _require_open(self) -> int:
        if self._descriptor is None:
            raise ValueError("the pack was already put or discarded")
        return self._descriptor


@functools.cache
def _sync_file_range() -> Any:
    """Linux's call; None elsewhere."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function


def _start_writing(descriptor: int, offset: int, length: int) -> None:
    """Has the disk begin with these bytes, so that fsync waits for less; else it waits for all."""
    function = _sync_file_range()
    if function is not None:
        function(descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)


def _info(key: str, found: os.stat_result) -> PackInfo:
    return PackInfo(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_if_unlocked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # its owner finished meanwhile
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
