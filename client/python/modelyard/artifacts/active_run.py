"""Keeps the active runs of this process, which `session` sets; one of them is the module's `run`.

Artifacts use that one: it logs drafts, and its settings name the cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from modelyard.configuration.settings import Settings, from_environment
from modelyard.contract import errors


class ActiveRun(Protocol):
    """What artifacts need of the active run."""

    @property
    def settings(self) -> Settings:
        """What it was started with."""

    def log_artifact(self, artifact_or_path: Any) -> Any:
        """Logs a draft; that very object becomes the logged version."""


_current: ActiveRun | None = None
_runs: list[ActiveRun] = []
_pid = 0


def activate(run: ActiveRun, *, current: bool) -> None:
    """Adds a run to the active ones; with `current` it becomes the module's."""
    global _current, _pid, _runs
    if _pid != os.getpid():
        _current, _runs, _pid = None, [], os.getpid()
    _runs.append(run)
    if current:
        _current = run


def deactivate(run: ActiveRun) -> None:
    """Removes a run from the active ones."""
    global _current
    if run in active_runs():
        _runs.remove(run)
    if active() is run:
        _current = None


def active_runs() -> list[ActiveRun]:
    """The runs that are not finished, oldest first; none in a forked process."""
    return list(_runs) if _pid == os.getpid() else []


def active() -> ActiveRun | None:
    """The module's run, if it is not finished; None in a forked process."""
    return _current if _pid == os.getpid() else None


def require(call: str) -> ActiveRun:
    """The module's run; in a forked process that of its parent, until it has one of its own.

    Error when `init` was not called.
    """
    run = _current
    if run is None:
        raise errors.Error(f"You must call modelyard.init() before modelyard.{call}()")
    return run


_start: Callable[[str | None, Any], AbstractContextManager[ActiveRun]] | None = None


def start_with(start: Callable[[str | None, Any], AbstractContextManager[ActiveRun]]) -> None:
    """Sets what starts a run for an artifact that is saved without one: `start(project, settings)`."""
    global _start
    _start = start


def for_saving(project: str | None, settings: Any) -> AbstractContextManager[ActiveRun]:
    """The module's run, else the newest active one; without any, one for the block alone."""
    active = _current or next(reversed(active_runs()), None)
    if active is not None:
        return nullcontext(active)
    assert _start is not None
    return _start(project, settings)


def settings() -> Settings:
    """The active run's settings; without a run those of the environment."""
    run = active()
    return from_environment() if run is None else run.settings
