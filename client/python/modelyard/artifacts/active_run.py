"""Keeps the active run of this process, which `session` sets.

Artifacts use it: it logs drafts, and its settings name the cache.
"""

from __future__ import annotations

import os
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


_active: ActiveRun | None = None
_pid = 0


def activate(run: ActiveRun | None) -> None:
    """Makes a run the active one of this process; None: there is no active run."""
    global _active, _pid
    _active, _pid = run, os.getpid()


def active() -> ActiveRun | None:
    """The run that `init` made and that is not finished; None in a forked process."""
    return _active if _pid == os.getpid() else None


def require(call: str) -> ActiveRun:
    """The active run. Error when `init` was not called."""
    run = active()
    if run is None:
        raise errors.Error(f"You must call modelyard.init() before modelyard.{call}()")
    return run


def settings() -> Settings:
    """The active run's settings; without a run those of the environment."""
    run = active()
    return from_environment() if run is None else run.settings
