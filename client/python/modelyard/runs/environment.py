"""The environment of a run, stored as its metadata: host, Python, command line, git, packages.

What takes no time is known when the run is made; the rest is found by a thread and
follows, so that neither a huge repository nor a disk that hangs slows `init`.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modelyard.configuration.settings import Settings
from modelyard.conversion.plain_values import fit_entry
from modelyard.host import git, machine, program, terminal, waiting

DIFF_FILE, PACKAGES_FILE, CODE_FOLDER = "diff.patch", "requirements.txt", "code"
"""In the folder of the run's files."""
CODE_BYTES = 10 << 20
"""Of a script or notebook that is kept."""
FINISH_SECONDS = 2.0
"""How long the end of a run waits for what is not found yet."""
_ARGUMENT_CHARACTERS = 64 << 10


def at_once(settings: Settings) -> dict[str, Any]:
    """Host, operating system, Python and command line, without what cannot be stored."""
    if settings.x_disable_meta:
        return {}
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "executable": _readable(sys.executable),
        "program": _readable(sys.argv[0]) if sys.argv else "",
        "args": _arguments(sys.argv[1:]),
    }
    if not settings.x_disable_machine_info:
        found |= {
            "host": _readable(platform.node()),
            "os": platform.platform(terse=True),
            "cpu_count": os.cpu_count(),
            "usable_cpu_count": machine.cpu_count(),
            "memory_bytes": machine.memory_bytes(),
        }
    return _stored(found)


class Search(threading.Thread):
    """Finds the rest of the environment, and passes each part to `found` as a key of the metadata.

    `files` is the folder of the run's files; what is written there is passed to `send`,
    with its path, its source and the policy by which it is sent. No error ends more
    than its own part, and none is shown.
    """

    def __init__(
        self,
        settings: Settings,
        files: Callable[[], str],
        send: Callable[[str, str, str], None],
        found: Callable[[str, Any], None],
    ) -> None:
        super().__init__(name="modelyard-environment", daemon=True)
        self._settings = settings
        self._files = files
        self._send = send
        self._found = found
        self._given_up = False

    def run(self) -> None:
        """Finds one part after the other."""
        settings = self._settings
        if settings.save_code and not settings.disable_code:
            self._part("code_path", self._code)
        if settings.x_disable_meta:
            return
        if not settings.x_disable_machine_info:
            self._part("gpus", machine.gpu_models)
        if settings.x_save_requirements is not False:
            self._part("package_count", self._packages)
        if not settings.disable_git:
            folder = Path.cwd()
            self._part("git", lambda: self._head(folder))
            self._part("git", lambda: self._repository(folder))

    def finish(self) -> None:
        """Waits at most 2 s; what is found later is dropped."""
        if not waiting.join(self, FINISH_SECONDS):
            self._given_up = True
            git.stop()

    def _part(self, key: str, find: Callable[[], Any]) -> None:
        try:
            stored = _stored({key: find()})
        except Exception:  # the environment is never worth an error in training
            return
        for name, value in stored.items():
            if not self._given_up:
                self._found(name, value)

    def _packages(self) -> int | None:
        lines = program.packages()
        self._keep(PACKAGES_FILE, "".join(f"{line}\n" for line in lines).encode())
        return len(lines)

    def _code(self) -> str | None:
        """Keeps the script as it is now, or the notebook, which is sent again as it is at the end."""
        script = program.script()
        code = script or program.open_notebook()
        if code is None:
            return None
        if code.stat().st_size > CODE_BYTES:
            limit = terminal.human_bytes(CODE_BYTES)
            terminal.termwarn(f"save_code: {code} is not kept, it has more than {limit}", repeat=False)
            return None
        path = f"{CODE_FOLDER}/{program.place(code)}"
        if script is not None:
            self._keep(path, script.read_bytes())
        elif not self._given_up:
            self._send(path, str(code), "live")
        return path

    def _keep(self, path: str, content: bytes) -> None:
        """Writes a file of the run, and has it sent."""
        target = Path(self._files(), path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if not self._given_up:
            self._send(path, str(target), "now")

    def _head(self, folder: Path) -> dict[str, Any] | None:
        """What is found without a git command, which may hang."""
        commit, branch = git.head(folder)
        return _known({"commit": commit, "branch": branch}) if commit else None

    def _repository(self, folder: Path) -> dict[str, Any] | None:
        found = self._head(folder)
        if found is None:
            return None
        found["remote"] = git.remote(folder)
        if not self._settings.disable_code and not self._given_up:
            changes = git.diff(folder)
            if changes:
                self._keep(DIFF_FILE, changes)
            found["dirty"] = None if changes is None else bool(changes)
        return _known(found)


def _stored(found: dict[str, Any]) -> dict[str, Any]:
    """The entries that are known and can be stored."""
    fitted = {name: fit_entry("metadata", name, value) for name, value in _known(found).items()}
    return {name: value for name, (value, fits) in fitted.items() if fits}


def _known(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value not in ("", None, [])}


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
