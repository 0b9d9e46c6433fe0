"""The environment of a run, stored as its metadata: host, Python, command line, git commit."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.rpc.plain_values import fit_entry

_ARGUMENT_CHARACTERS = 64 << 10


def stored() -> dict[str, Any]:
    """Host, operating system, Python, command line and git commit, without what cannot be stored."""
    found: dict[str, Any] = {
        "host": _readable(platform.node()),
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "executable": _readable(sys.executable),
        "program": _readable(sys.argv[0]) if sys.argv else "",
        "args": _arguments(sys.argv[1:]),
        "cpu_count": os.cpu_count(),
        "git_commit": _git_commit(Path.cwd()),
    }
    fitted = {name: fit_entry("metadata", name, value) for name, value in found.items() if value != ""}
    return {name: value for name, (value, fits) in fitted.items() if fits}


def _arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments up to 64 KiB in all: a shell that expands `*` may pass megabytes."""
    kept: list[str] = []
    left = _ARGUMENT_CHARACTERS
    for argument in arguments:
        left -= len(argument)
        if left < 0:
            return [*kept, f"… and {len(arguments) - len(kept)} more"]
        kept.append(_readable(argument))
    return kept


def _readable(text: str) -> str:
    # Bytes of the command line that are not UTF-8 become surrogates, which Protobuf refuses.
    return text.encode("utf-8", "replace").decode()


def _git_commit(folder: Path) -> str:
    """The commit that is checked out in a folder or its parents, read without git; '' without one."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        try:
            head = (git / "HEAD").read_text(encoding="ascii").strip()
            if not head.startswith("ref: "):
                return head
            name = head.removeprefix("ref: ")
            if (git / name).is_file():
                return (git / name).read_text(encoding="ascii").strip()
            packed = (git / "packed-refs").read_text(encoding="ascii").splitlines()
            return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")
        except (OSError, ValueError):
            continue
    return ""
