"""The Unix socket of a server over a data folder: only the folder's owner can reach it or take its place."""

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
"""Bytes of a socket's path that every system takes: macOS has room for 104, Linux for 108, one is a zero."""
_PREFIX = "modelyard-"


def candidates(folder: Path) -> Iterator[Path]:
    """Paths for a new socket, best first: in the data folder, else in a private folder made for it.

    Names are random: a server that outlived its folder must not remove its successor's socket.
    """
    name = f"{secrets.token_hex(4)}.sock"
    if _is_private(folder) and _fits(folder / name):
        yield folder / name
    for parent in dict.fromkeys((os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp")):
        if parent and _keeps_names(Path(parent)):
            with contextlib.suppress(OSError):
                path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)) / name
                if _fits(path):
                    yield path
                else:
                    remove(path)


def target(path: Path) -> str:
    """A socket's address for gRPC."""
    return f"unix:{quote(os.fsencode(path))}"


def remove(path: Path) -> None:
    """Removes a socket without a server, and the folder that was made for it."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    if path.parent.name.startswith(_PREFIX) and _is_private(path.parent):
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def clear(folder: Path) -> None:
    """Removes sockets that killed servers left. The caller holds the folder's lock."""
    for path in folder.glob("*.sock"):
        remove(path)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        remove(Path(json.loads((folder / SERVER_FILE).read_text(encoding="utf-8"))["socket"]))


def _fits(path: Path) -> bool:
    # gRPC treats a comma as a separator of addresses.
    return len(os.fsencode(path)) <= LONGEST_PATH and "," not in str(path)


def _is_private(folder: Path) -> bool:
    """Whether only this user can make or replace files in it."""
    try:
        found = folder.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _keeps_names(parent: Path) -> bool:
    """Whether no other user can rename a folder of ours in it."""
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
