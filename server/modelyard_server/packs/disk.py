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
    OpenPack,
    PackExists,
    PackInfo,
    PackMissing,
    PackStore,
    RangeSource,
    StoreRefused,
)

_SYNC_FILE_RANGE_WRITE = 2
_WRITEBACK_BYTES = 4 << 20
_REFUSALS = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG}


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turns errors of the operating system into errors of the store."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise errors.DiskFull("the server's disk is full") from error
        code = errno.errorcode.get(error.errno or 0, "unknown error")
        kind = StoreRefused if error.errno in _REFUSALS else errors.StoreUnavailable
        raise kind(f"the store's folder could not be used: {code}") from error


class DiskStore(PackStore):
    """A store in a folder, which is created if absent."""

    holds_bytes = False

    def __init__(self, root: Path) -> None:
        self._root = root
        self._packs = root / "packs"
        self._tmp = root / "tmp"
        self._durable_folders: set[Path] = set()
        with _translate_errors():
            is_new = not root.exists()
            for folder in (self._packs, self._tmp):
                folder.mkdir(parents=True, exist_ok=True)
            _fsync_folder(root)
            if is_new:
                _fsync_folder(root.absolute().parent)

    def open(self) -> OpenPack:
        with _translate_errors():
            return _DiskPack(self, self._tmp / str(uuid.uuid4()))

    def free_bytes(self) -> int | None:
        with _translate_errors():
            found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    def clean(self) -> int:
        """Removes temporary files that no process holds locked."""
        with _translate_errors():
            return sum(_remove_if_unlocked(path) for path in self._tmp.iterdir())

    def store_id(self) -> str | None:
        with _translate_errors():
            try:
                return (self._root / "store-id").read_text().strip()
            except FileNotFoundError:
                self._require_folder()
                return None

    def path(self, key: str) -> Path:
        """Returns the path of a pack."""
        return self._root / key

    def make_folder(self, folder: Path) -> None:
        """Creates an entity's folder and makes its entry in `packs` durable, once."""
        if folder in self._durable_folders and folder.is_dir():  # it may have been removed since
            return
        folder.mkdir(
            exist_ok=True
        )  # without parents: an unmounted volume must not be recreated as an empty folder
        _fsync_folder(folder.parent)
        self._durable_folders.add(folder)

    def _open_range(self, key: str, offset: int, length: int) -> RangeSource:
        return _DiskRange(self, key, offset)

    def pread(self, key: str, length: int, offset: int) -> bytes:
        """Returns bytes of a pack, fewer at its end. Errors: PackMissing, StoreUnavailable."""
        with _translate_errors():
            try:
                descriptor = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise self._missing(key) from None
            try:
                return os.pread(descriptor, length, offset)
            finally:
                os.close(descriptor)

    def _stat(self, key: str) -> PackInfo:
        with _translate_errors():
            try:
                found = self.path(key).stat()
            except FileNotFoundError:
                raise self._missing(key) from None
        return _info(key, found)

    def _delete(self, key: str) -> None:
        path = self.path(key)
        with _translate_errors():
            try:
                path.unlink()
            except FileNotFoundError:
                self._require_folder()
            else:
                _fsync_folder(path.parent)

    def _list(self, prefix: str, after: str) -> Iterator[PackInfo]:
        kind, entity, *_ = prefix.split("/")
        for folder in [entity] if entity else self._names(kind):
            if f"{kind}/{folder}0" <= after:  # `0` follows `/`: each of its keys is less
                continue
            for name in self._names(f"{kind}/{folder}"):
                key = f"{kind}/{folder}/{name}"
                if key <= after:
                    continue
                with _translate_errors():
                    try:
                        found = self.path(key).stat()
                    except FileNotFoundError:  # deleted since the folder was read
                        continue
                yield _info(key, found)

    def _names(self, folder: str) -> list[str]:
        with _translate_errors():
            try:
                names = os.listdir(self._root / folder)
            except FileNotFoundError:
                self._require_folder()
                return []
        return sorted(names, key=lambda name: name + "/")

    def _write_store_id(self, store_id: str) -> None:
        self._put_small("store-id", store_id.encode() + b"\n")

    def _put_small(self, key: str, data: bytes) -> None:
        temporary = self._tmp / str(uuid.uuid4())
        with _translate_errors():
            self._require_folder()
            for folder in reversed(self.path(key).relative_to(self._root).parents[:-1]):
                self.make_folder(self._root / folder)
            try:
                with open(temporary, "xb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    temporary.rename(self.path(key))
                _fsync_folder(self.path(key).parent)
            finally:
                temporary.unlink(missing_ok=True)

    def _missing(self, key: str) -> PackMissing:
        self._require_folder()
        return PackMissing(key)

    def _require_folder(self) -> None:
        """Raises StoreUnavailable if `packs` is missing: the mount point of an unmounted volume is empty."""
        if not self._packs.is_dir():
            raise errors.StoreUnavailable("the store's folder does not exist")


class _DiskRange:
    """A range of a file, which is opened for each read.

    Opening costs a few microseconds, a read of 1 MiB hundreds. Descriptors kept
    open would keep the space of deleted packs in use.
    """

    def __init__(self, store: DiskStore, key: str, offset: int) -> None:
        self._store = store
        self._key = key
        self._offset = offset

    def read(self, size: int) -> bytes:
        data = self._store.pread(self._key, size, self._offset)
        self._offset += len(data)
        return data

    def close(self) -> None:
        return


class _DiskPack(OpenPack):
    """A temporary file, locked while its process runs."""

    def __init__(self, store: DiskStore, temporary: Path) -> None:
        self._store = store
        self._temporary = temporary
        self._closing = threading.Lock()
        self._writeback_end = 0
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        self._descriptor: int | None = os.open(temporary, flags, 0o640)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def discard(self) -> None:
        with self._closing:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with _translate_errors():
            try:
                self._temporary.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    def _append(self, data: bytes | memoryview) -> None:
        descriptor = self._require_open()
        rest = memoryview(data)
        with _translate_errors():
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        end = self.size + len(data)
        if end - self._writeback_end >= _WRITEBACK_BYTES:
            _start_writeback(descriptor, self._writeback_end, end - self._writeback_end)
            self._writeback_end = end

    def _put(self, key: str) -> None:
        descriptor = self._require_open()
        path = self._store.path(key)
        with _translate_errors():
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
    """Returns `sync_file_range` of Linux; None on other systems."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function


def _start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Starts writing these bytes to the disk, so that the later fsync waits for less."""
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
    except FileNotFoundError:  # its process finished in the meantime
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
