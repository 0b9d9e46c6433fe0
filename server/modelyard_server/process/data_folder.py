"""The data folder: its lock, and the file that says how to reach the server that holds it."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.contract.transport import SERVER_FILE
from modelyard_server.release import VERSION
from modelyard_server.settings import StartError

_NETWORK_FILE_SYSTEMS = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs",
    "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs",
}  # fmt: skip
_POLL_SECONDS = 0.05
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
log = logging.getLogger(__name__)


@contextmanager
def held(folder: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Locks the folder for this process, and creates it if it does not exist.

    Waits up to `wait_seconds` for another holder. Raises StartError that names
    the holder, or when the folder is on a network file system, where SQLite
    cannot rely on locks and memory maps.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        require_local(folder)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"the data folder {folder} cannot be used: {error.strerror or error}") from error
    try:
        _lock(folder, descriptor, time.monotonic() + wait_seconds)
        _write_holder(descriptor)
        yield
    finally:
        os.close(descriptor)


class Advertisement:
    """`server.json`: socket, token and page of the server that holds the folder. Only its owner can read it.

    `page` is the address of the page while it is served, else empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / SERVER_FILE
        self.token = secrets.token_urlsafe(32)
        self._content: dict[str, object] = {"token": self.token, "pid": os.getpid(), "version": VERSION}

    def publish(self, address: str, socket: Path | None, page: str) -> None:
        """Writes the file, atomically. The SDK connects to the socket only.

        On a full disk no file is written.
        """
        self._content |= {"address": address, "socket": socket and str(socket), "page": page}
        content = self._content
        try:
            self._write(json.dumps(content))
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            # Free the block of the lock file, whose content is only informative, and use it for this one.
            os.truncate(self._path.with_name("lock"), 0)
            with _ignoring_full_disk():
                self._write(json.dumps(content))

    def add_page(self, page: str) -> None:
        """Writes the address of the page, too, which is served from now on; nothing on a full disk."""
        if not self._is_published():
            return
        self._content |= {"page": page}
        with _ignoring_full_disk():
            self._write(json.dumps(self._content))

    def _write(self, content: str) -> None:
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)

    def withdraw(self) -> None:
        """Removes the file, so that clients start a new server instead of connecting to this one."""
        if self._is_published():
            self._path.unlink(missing_ok=True)

    def _is_published(self) -> bool:
        """Whether the file is of this server: the folder may have been recreated, for another one."""
        try:
            return bool(json.loads(self._path.read_text(encoding="utf-8"))["token"] == self.token)
        except (OSError, ValueError, KeyError, TypeError):
            return False


def _write_holder(descriptor: int) -> None:
    """Overwrites the old content before it truncates the rest: that needs no free block on a full disk."""
    content = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()
    with _ignoring_full_disk():
        os.ftruncate(descriptor, os.pwrite(descriptor, content, 0))


@contextmanager
def _ignoring_full_disk() -> Iterator[None]:
    """Logs and ignores that the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        log.warning("a file of the data folder was not written: %s", error.strerror)


def _lock(folder: Path, descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StartError(_holder_message(folder, descriptor)) from None
            time.sleep(_POLL_SECONDS)
        else:
            return


def _holder_message(folder: Path, descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 1024, 0))
        who = f"process {int(holder['pid'])} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return f"the data folder {folder} is in use by {who}: stop that one, or give another folder with --data"


def require_local(folder: Path) -> None:
    """Raises StartError for a folder on a network file system."""
    kind = file_system(folder)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StartError(
            f"the data folder {folder} lies on a network file system ({kind}), where SQLite loses data: "
            "give a local folder with --data, or a PostgreSQL database with --database"
        )


def file_system(folder: Path) -> str:
    """The type of the folder's file system; empty where the system does not provide it."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    best, kind = "", ""
    resolved = str(folder.resolve())
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4].encode("latin-1", "replace").decode("unicode_escape")
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    return kind
