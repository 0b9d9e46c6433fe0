"""Finds the server of a data folder, or starts one.

The server is spawned, never forked: it has its own interpreter and GIL, outlives
the training that started it, and exits 60 s after its last call. It holds the
folder's lock, so that a folder never has two.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modelyard.configuration import addresses
from modelyard.contract import errors
from modelyard.contract.transport import SERVER_FILE, SERVER_LOG, SPAWN_LOCK

START_SECONDS = 30.0
_STARTS = 3
_POLL_SECONDS = 0.02
_LOG_LINES = 15

# Kept so that a server that ends before this process is reaped.
_started: list[subprocess.Popen[bytes]] = []

Probe = Callable[[addresses.Endpoint], bool]


def find_or_spawn(folder: Path, answers: Probe) -> addresses.Endpoint:
    """The endpoint of the server of `folder`, which is started if none `answers`.

    Raises CommError, with the end of its log, if it is not ready within 30 s.
    """
    found = _find(folder)
    if found is not None and answers(found):
        return found
    _require_server()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _spawn_lock(folder):
            return _start(folder, answers)
    except OSError as error:
        raise errors.CommError(
            f"the data folder {folder} cannot be used: {error.strerror or error}; "
            "set MODELYARD_DATA_DIR to a folder you may write to"
        ) from error


def page_of(folder: Path) -> str:
    """The address of the page of the folder's server; empty while it has none, or does not run."""
    content = _advertised(folder) or {}
    try:
        os.kill(int(content["pid"]), 0)  # a server that was killed has left the file
    except PermissionError:
        pass  # it runs, as another user
    except (OSError, OverflowError, KeyError, TypeError, ValueError):
        return ""
    return str(content.get("page", ""))


def _find(folder: Path) -> addresses.Endpoint | None:
    """The endpoint in the folder's server.json; None if it is missing, invalid or not trusted.

    The token is sent only to a socket that the folder's owner must have created, never
    to a TCP port: another process could listen on the port of a killed server.
    """
    content = _advertised(folder)
    if content is None:
        return None
    return addresses.of_socket(Path(content["socket"]), str(content["token"]))


def _advertised(folder: Path) -> dict[str, Any] | None:
    """What the folder's server.json says; None if it is missing, invalid or not trusted."""
    try:
        with (folder / SERVER_FILE).open(encoding="utf-8") as file:
            content: dict[str, Any] = json.load(file)
            owners = {os.fstat(file.fileno()).st_uid}
        socket = Path(content["socket"])
        # Only the data folder itself may be a symbolic link: any other could point anywhere.
        parent = folder.stat() if socket.parent == folder else socket.parent.lstat()
        owners.add(parent.st_uid)
        # Root may use a folder of another user.
        ours = {os.geteuid()} if os.geteuid() else {0, folder.stat().st_uid}
        has_token = "token" in content
        if has_token and socket.is_absolute() and owners <= ours and _keeps_others_out(parent):
            return content
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _keeps_others_out(found: os.stat_result) -> bool:
    """Whether it is a folder in which only its owner can create and replace files."""
    return stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022


def _require_server() -> None:
    # The server's code may be installed without its dependencies, which the extra installs.
    if any(importlib.util.find_spec(name) is None for name in ("modelyard_server", "sqlalchemy")):
        raise errors.CommError(
            "no server is configured, and the one to run on this machine is not installed. "
            'Either: pip install "modelyard[server]". '
            "Or name a server: MODELYARD_URL=grpcs://host:port, or modelyard.login(host=…, key=…)"
        )


@contextlib.contextmanager
def _spawn_lock(folder: Path) -> Iterator[None]:
    """Locks the start: of several processes that find no server, one starts it."""
    handle = os.open(folder / SPAWN_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    try:
        import fcntl  # not on every system
    except ImportError:
        return  # the server's own lock still prevents a second server
    fcntl.flock(handle, fcntl.LOCK_EX)


def _start(folder: Path, answers: Probe) -> addresses.Endpoint:
    deadline = time.monotonic() + START_SECONDS
    starts = 0
    process: subprocess.Popen[bytes] | None = None
    while time.monotonic() < deadline:
        # Another process may have started it while this one waited for the lock.
        found = _find(folder)
        if found is not None and answers(found):
            return found
        if process is None or process.poll() is not None:
            if starts == _STARTS:
                raise _failed(folder, "ended before it served")
            if starts:
                # An earlier server may still be draining and hold the folder's lock.
                time.sleep(0.5 * starts)
            process = _spawn(folder)
            starts += 1
        time.sleep(_POLL_SECONDS)
    raise _failed(folder, f"did not answer within {START_SECONDS:.0f} s")


def _spawn(folder: Path) -> subprocess.Popen[bytes]:
    _started[:] = [process for process in _started if process.poll() is None]
    # -P: files in the working directory must not shadow the server's modules. Host and port are
    # given, so that variables for another server do not apply to this one.
    command = [sys.executable, "-P", "-m", "modelyard_server", "start", "--embedded", "--data", str(folder)]
    command += ["--host", "127.0.0.1", "--port", "0"]
    handle = os.open(folder / SERVER_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,  # so that the working folder of the training can be deleted
            start_new_session=True,
        )
    _started.append(process)
    return process


def _failed(folder: Path, what: str) -> errors.CommError:
    log = folder / SERVER_LOG
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        lines = []
    tail = "".join(f"\n  {line}" for line in lines)
    return errors.CommError(
        f"the embedded server over {folder} {what}; the end of {log}:{tail or ' (empty)'}"
    )
