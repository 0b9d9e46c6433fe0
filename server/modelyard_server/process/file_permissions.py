"""File permissions of the data: which other users of the machine may read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from modelyard.contract.transport import SERVER_FILE, SERVER_LOG, SPAWN_LOCK
from modelyard_server.settings import Location

_OURS = {
    "lock", "modelyard.db", "modelyard.db-journal", "modelyard.db-shm", "modelyard.db-wal",
    SERVER_FILE, SERVER_LOG, SPAWN_LOCK, "store",
}  # fmt: skip


def set_umask(location: Location) -> None:
    """Sets the umask to 077, or to 027 where all folders grant read access to their group only (0750)."""
    folders = [folder for folder in location.folders if folder.is_dir()]
    shared = folders and all(_mode(folder) & 0o057 == 0o050 for folder in folders)
    if folders or location.folder is not None:
        os.umask(0o027 if shared else 0o077)


def warnings(location: Location) -> list[str]:
    """For each folder that every user of the machine may enter, a sentence with the command to run."""
    return [
        f"every user of this machine may enter {folder} (mode {_mode(folder):04o}), which holds models: "
        f"`chmod 700 {folder}`, or `chmod 750 {folder}` where a group reads it, for backups"
        for folder in location.folders
        if folder.is_dir() and _mode(folder) & 0o007
    ]


def tighten(folder: Path) -> None:
    """Removes all rights of group and others from an embedded server's folder.

    Where the folder has other files too, only from the server's own files in it.
    """
    entries = list(folder.iterdir())
    ours = [entry for entry in entries if entry.name in _OURS or entry.suffix == ".sock"]
    for path in [folder] if len(ours) == len(entries) else ours:
        if not path.is_symlink() and _mode(path) & 0o077 and path.stat().st_uid == os.geteuid():
            path.chmod(_mode(path) & ~0o077)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
