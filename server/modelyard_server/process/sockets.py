"""The Unix socket of a data folder's server: only the folder's owner can connect to it or replace it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from modelyard.contract.transport import SERVER_FILE

LONGEST_PATH = 103
"""Bytes of a socket's path that every system accepts: macOS allows 104 and Linux 108, with the final zero."""
_PREFIX = "modelyard-"


def candidates(folder: Path) -> Iterator[Path]:
    """Paths for a new socket, best first: in the data folder, or in a private folder made for it.

    Names are random, so that a server whose folder was recreated cannot remove its successor's socket.
    """
    name = f"{secrets.token_hex(4)}.sock"
    if _is_private(folder) and _fits(folder / name):
        yield folder / name
    for parent in dict.fromkeys((os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp")):
        if parent and _prevents_renames(Path(parent)):
            with contextlib.suppress(OSError):
                path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)) / name
                if _fits(path):
                    yield path
                else:
                    remove(path)


def target(path: Path) -> str:
    """The address of a socket for gRPC."""
    return f"unix:{quote(os.fsencode(path))}"


def remove(path: Path) -> None:
    """Removes a socket, and the folder that was made for it."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    if path.parent.name.startswith(_PREFIX) and _is_private(path.parent):
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def clear(folder: Path) -> None:
    """Removes the sockets of servers that were killed. The caller holds the folder's lock."""
    for path in folder.glob("*.sock"):
        remove(path)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        remove(Path(json.loads((folder / SERVER_FILE).read_text(encoding="utf-8"))["socket"]))


def _fits(path: Path) -> bool:
    # In a gRPC address a comma separates several addresses.
    return len(os.fsencode(path)) <= LONGEST_PATH and "," not in str(path)


def _is_private(folder: Path) -> bool:
    """Whether only this user can make or replace files in it."""
    try:
        found = folder.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _prevents_renames(parent: Path) -> bool:
    """Whether no other user can rename our folders in it."""
    try:
        found = parent.stat()
    except OSError:
        return False
    trusted = found.st_uid in {0, os.geteuid()}
    return (
        stat.S_ISDIR(found.st_mode)
        and trusted
        and bool(not found.st_mode & 0o022 or found.st_mode & stat.S_ISVTX)
    )
