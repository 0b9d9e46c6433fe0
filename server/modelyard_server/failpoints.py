"""Named places in the code where a test can make the server die, fail or wait.

`MODELYARD_FAILPOINTS="writer.before_put=kill@2;disk.before_fsync=sleep(0.5)"`
sets an action for every hit, or with `@N` for the N-th hit only:

- `kill`: sends SIGKILL to this process.
- `error(REASON)`: raises the published error of that reason; `error` raises FailpointError.
- `sleep(SECONDS)`: blocks the current thread.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelyard.contract import errors

VARIABLE = "MODELYARD_FAILPOINTS"

NAMES = (
    "writer.before_intent",
    "writer.before_put",
    "writer.after_put",
    "writer.after_publish",
    "disk.before_fsync",
    "disk.before_rename",
    "disk.after_rename",
    "commit.staged",
    "commit.before",
    "commit.inside",
    "commit.after",
    "collector.files_found",
    "collector.chunks_found",
    "collector.packs_found",
    "collector.abandoned_found",
    "collector.trash_found",
    "collector.object_deleted",
    "collector.strays_found",
    "collector.before_copy",
    "collector.copied",
    "collector.moved",
    "decoding.large",
    "metrics.stored",
    "backup.database_copied",
    "backup.packs_copied",
    "watch.before_positions",
)
"""All failpoints. `hit` raises ValueError for other names."""

_SETTING = re.compile(
    r"(?P<name>[a-z_.]+)=(?P<action>kill|error|sleep)(?:\((?P<argument>[A-Z_]+|[0-9.]+)\))?(?:@(?P<at>[1-9][0-9]*))?"
)


class FailpointError(Exception):
    """Raised by a failpoint set to `error`. No code of the server handles it."""


@dataclass
class _Failpoint:
    name: str
    action: str
    argument: str
    at: int | None
    hits: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hit(self) -> None:
        with self.lock:
            self.hits += 1
            due = self.at is None or self.hits == self.at
        if due:
            self._act()

    def _act(self) -> None:
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action == "sleep":
            time.sleep(float(self.argument))
        elif self.argument:
            raise errors.BY_REASON[self.argument](f"failpoint {self.name}")
        else:
            raise FailpointError(self.name)


_armed: dict[str, _Failpoint] = {}


def hit(name: str) -> None:
    """Performs the action that the failpoint is set to, if any."""
    if not _armed:
        return
    if name not in NAMES:
        raise ValueError(f"there is no failpoint {name!r}")
    failpoint = _armed.get(name)
    if failpoint is not None:
        failpoint.hit()


def arm(settings: str) -> None:
    """Replaces all settings; an empty text clears them. Raises ValueError."""
    parsed = [_parse(setting.strip()) for setting in settings.split(";") if setting.strip()]
    _armed.clear()
    _armed.update({failpoint.name: failpoint for failpoint in parsed})


def arm_from(environment: Mapping[str, str]) -> None:
    """Sets the failpoints of `MODELYARD_FAILPOINTS`. The server calls this once, at its start."""
    arm(environment.get(VARIABLE, ""))


def hits(name: str) -> int:
    """How often a failpoint was hit since it was set; 0 for one that is not set."""
    failpoint = _armed.get(name)
    return failpoint.hits if failpoint else 0


def _parse(setting: str) -> _Failpoint:
    match = _SETTING.fullmatch(setting)
    if match is None:
        raise ValueError(f"{VARIABLE}: cannot read {setting!r}; expected name=kill|error|sleep(SECONDS)[@N]")
    name, action, argument = match["name"], match["action"], match["argument"] or ""
    if name not in NAMES:
        raise ValueError(f"{VARIABLE}: there is no failpoint {name!r}; known: {', '.join(NAMES)}")
    if action == "sleep" and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", argument):
        raise ValueError(f"{VARIABLE}: {setting!r} needs seconds, as in sleep(0.5)")
    if action == "error" and argument and argument not in errors.BY_REASON:
        raise ValueError(f"{VARIABLE}: {argument!r} in {setting!r} is not a published reason")
    if action == "kill" and argument:
        raise ValueError(f"{VARIABLE}: kill in {setting!r} takes no argument")
    return _Failpoint(name, action, argument, int(match["at"]) if match["at"] else None)
