"""Functions of W&B's module that are neither `init` nor calls about a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from modelyard import session
from modelyard.arguments import checked
from modelyard.configuration import settings as configuration
from modelyard.configuration.settings import Settings
from modelyard.contract import errors
from modelyard.host import terminal
from modelyard.runs.run import Run

_REQUIREMENTS = {"core", "legacy-service", "nexus", "require", "service"}
"""Parts of W&B that scripts ask for, and that have no counterpart to switch on."""
_SWEEPS = (
    "modelyard.{}: sweeps are not part of modelyard. Let a library such as Optuna choose the parameters, "
    "start one run for each trial with init(group=…, config=…), and compare them with Api().runs"
)


class Setup:
    """What `setup` returns."""

    @property
    def settings(self) -> Settings:
        """The settings that the next run starts with."""
        return configuration.current()


def setup(settings: Settings | Mapping[str, Any] | None = None) -> Setup:
    """Sets defaults for the runs of this process: they come after arguments, before the environment.

    There is nothing else to set up: a script need not call it.
    """
    if settings is not None:
        given = settings if isinstance(settings, Settings) else Settings(**dict(settings))
        configuration.set_process_defaults(given)
    return Setup()


@checked
def teardown(exit_code: int | None = None) -> None:
    """Finishes every active run, the newest first."""
    for run in reversed(session.active_runs()):
        run.finish(exit_code)


def ensure_configured() -> None:
    """Does nothing: there is nothing to configure before `init`."""


def require(
    requirement: str | Iterable[str] | None = None, experiment: str | Iterable[str] | None = None
) -> None:
    """Accepts the names of W&B's parts, such as `core` and `service`. UnsupportedError for others."""
    names = requirement or experiment or ()
    for name in [names] if isinstance(names, str) else names:
        if name.partition("@")[0].partition(":")[0] not in _REQUIREMENTS:
            raise errors.UnsupportedError(f"require: modelyard has no feature {name!r}")
        terminal.termlog(f"require({name!r}) accepted: there is nothing to switch on", repeat=False)


@checked
def attach(attach_id: str | None = None, run_id: str | None = None, *, run: Run | None = None) -> Run:
    """The active run of this process with that id.

    UsageError for any other. A run gets to another process of this machine by being
    pickled, and to other machines by `init(id=…, mode="shared")`.
    """
    asked = attach_id or run_id
    if (asked is None) == (run is None):
        raise errors.UsageError("attach: give either the id of a run, or run=")
    for active in session.active_runs():
        if active is run or active.id == asked:
            return active
    raise errors.UsageError(
        f"attach: this process has no active run {asked or run}. Pass the run itself to a process of this "
        "machine; init(id=…, mode='shared') joins it from elsewhere"
    )


def sweep(*args: Any, **kwargs: Any) -> NoReturn:
    """UsageError: sweeps are not part of modelyard."""
    raise errors.UsageError(_SWEEPS.format("sweep"))


def agent(*args: Any, **kwargs: Any) -> NoReturn:
    """UsageError: sweeps are not part of modelyard."""
    raise errors.UsageError(_SWEEPS.format("agent"))


def controller(*args: Any, **kwargs: Any) -> NoReturn:
    """UsageError: sweeps are not part of modelyard."""
    raise errors.UsageError(_SWEEPS.format("controller"))
