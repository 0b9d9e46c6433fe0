"""The state of the git repository that a program runs in.

The commit is read from files, without git. Remote and differences come from the `git`
command, which is ended after some seconds: a repository may be huge or on a network disk
that does not answer.
"""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

SECONDS = 10.0
"""Time that a git command may take."""
DIFF_BYTES = 10 << 20
"""Of a difference that is kept."""
_running: set[subprocess.Popen[bytes]] = set()
_SAFE = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.quotepath=false")


def top(folder: Path) -> Path | None:
    """The folder of the repository that a folder is in; None where it is in none."""
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)


def head(folder: Path) -> tuple[str, str]:
    """The commit that is checked out in a folder or its parents, and the branch; empty texts without one."""
    for parent in (folder, *folder.parents):
        git = _git_folder(parent / ".git")
        try:
            content = (git / "HEAD").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        if not content.startswith("ref: "):
            return content, ""
        name = content.removeprefix("ref: ")
        return _commit_of(git, name), name.removeprefix("refs/heads/")
    return "", ""


def remote(folder: Path) -> str:
    """The address of the remote `origin`, without user names and passwords; empty without one."""
    found = _output(folder, "config", "--get", "remote.origin.url")
    return without_credentials(found.decode("utf-8", "replace").strip()) if found else ""


def diff(folder: Path, limit: int = DIFF_BYTES) -> bytes | None:
    """The differences of tracked files from the commit; None where git fails, and for more than `limit`."""
    return _output(folder, "diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD", limit=limit)


def without_credentials(address: str) -> str:
    """An address without what comes before `@`, and without a query."""
    try:
        parts = urlsplit(address)
        if not parts.scheme or not parts.netloc:
            return address  # `git@host:path` has a user name that is no secret
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return ""


def _git_folder(git: Path) -> Path:
    """The folder behind `.git`, which is a file in worktrees and submodules."""
    with suppress(OSError, ValueError):
        if git.is_file():
            return git.parent / git.read_text(encoding="utf-8").strip().removeprefix("gitdir: ")
    return git


def _commit_of(git: Path, name: str) -> str:
    """The commit of a branch, which in a worktree is in the folder of the whole repository."""
    folders = [git]
    with suppress(OSError, ValueError):
        folders.append(git / (git / "commondir").read_text(encoding="utf-8").strip())
    for folder in folders:
        with suppress(OSError, ValueError):
            return (folder / name).read_text(encoding="utf-8").strip()
        with suppress(OSError, ValueError):
            for line in (folder / "packed-refs").read_text(encoding="utf-8").splitlines():
                if line.endswith(f" {name}"):
                    return line.split()[0]
    return ""


def _output(folder: Path, *arguments: str, limit: int = 1 << 16) -> bytes | None:
    """What a git command prints; None if it fails, takes too long or prints more than `limit` bytes."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat", "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            ["git", *_SAFE, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError):
        return None
    _running.add(process)
    timer = threading.Timer(SECONDS, _end, [process])
    timer.daemon = True
    timer.start()
    try:
        assert process.stdout is not None
        with process.stdout as output:
            found = output.read(limit + 1)
        if len(found) > limit:
            _end(process)
        process.wait(SECONDS)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    finally:
        timer.cancel()
        _running.discard(process)
    return found if process.returncode == 0 and len(found) <= limit else None


def stop() -> None:
    """Ends the commands that still run."""
    for process in list(_running):
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a command and what it started."""
    with suppress(OSError):
        os.killpg(process.pid, 9)
