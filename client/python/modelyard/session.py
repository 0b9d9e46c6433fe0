"""`init`, `finish`, and the module-level functions that use the active run of this process.

The active run is kept in `artifacts.active_run`, since artifacts use it too.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import inspect
import os
import random
import string
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from modelyard.arguments import checked
from modelyard.artifacts import active_run
from modelyard.configuration.settings import Settings, of_run
from modelyard.contract import errors, refs
from modelyard.host import terminal
from modelyard.host.process_end import Ending
from modelyard.rpc.records import RunRecord
from modelyard.runs import config as run_config
from modelyard.runs.run import Run

_P = ParamSpec("_P")
_R = TypeVar("_R")
_ID_LETTERS = string.ascii_lowercase + string.digits
_MODES = {"online", "disabled"}
_RESUME = {"allow", "must", "never", "auto"}


_observers: list[Callable[[Run | None], None]] = []


def active() -> Run | None:
    """The run that `init` made and that is not finished; None without one and in a forked process."""
    run = active_run.active()
    return run if isinstance(run, Run) else None


_ending = Ending(active)


def observe(observer: Callable[[Run | None], None]) -> None:
    """Calls `observer` with the new active run, or None, whenever it changes."""
    _observers.append(observer)


def require_run(call: str) -> Run:
    """The active run. Error when `init` was not called."""
    run = active_run.require(call)
    assert isinstance(run, Run)
    return run


def of_active_run(method: Callable[Concatenate[Run, _P], _R]) -> Callable[_P, _R]:
    """A function that calls a method of the active run; Error when there is none."""

    @functools.wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return method(require_run(method.__name__), *args, **kwargs)

    return call


class BeforeInit:
    """`modelyard.config` or `modelyard.summary` before `init`: any use raises Error."""

    def __init__(self, name: str) -> None:
        self.__dict__["_name"] = name

    def _missing(self, *_: Any) -> Any:
        raise errors.Error(f"You must call modelyard.init() before modelyard.{self._name}")

    __getitem__ = __setitem__ = __delitem__ = __setattr__ = _missing

    def __getattr__(self, name: str) -> Any:
        # Introspection (copy, pickle, doctest) asks for such names and expects AttributeError.
        if name.startswith("__"):
            raise AttributeError(name)
        return self._missing()


@checked
def init(
    entity: str | None = None,
    project: str | None = None,
    dir: str | os.PathLike[str] | None = None,
    id: str | float | None = None,
    name: str | float | None = None,
    notes: str | float | None = None,
    tags: Sequence[str] | str | None = None,
    config: Any = None,
    config_exclude_keys: Sequence[str] | None = None,
    config_include_keys: Sequence[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | float | None = None,
    job_type: str | float | None = None,
    mode: str | None = None,
    force: bool | None = None,
    reinit: bool | str | None = None,
    resume: bool | str | None = None,
    save_code: bool | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    **ignored: Any,
) -> Run:
    """Starts a run and makes it the active one; with one active already, returns that one.

    `entity` and `project` are created at their first use; defaults: the key's
    entity (embedded: `local`) and `uncategorized`. `config` is a dict, a
    Namespace or the path of a YAML file. A number as `id`, `name`, `notes`,
    `group` or `job_type` is converted to text. `mode` is `online` or `disabled`.
    `resume` (`allow`, `must`, `never`) says what to do when `id` exists.
    `reinit=True` finishes the active run first. Without a server configured,
    the embedded one is found or started. Errors: CommError, ValueError, ConfigError.
    """
    _refuse_rewinding(resume_from, fork_from)
    _report_ignored(ignored)
    arguments = Settings(
        entity=entity, project=project, dir=dir, run_id=id, run_name=name, run_notes=notes,
        run_tags=tags, run_group=group, job_type=job_type, mode=mode, resume=resume,
    )  # fmt: skip
    before = active()
    if before is not None:
        if not _replaces(reinit):
            _warn_unused(before, arguments, config)
            return before
        before.finish()
    merged = of_run(arguments.over(_given(settings)))
    _print_notices(merged)
    entries = run_config.select(run_config.read(config), config_include_keys, config_exclude_keys)
    return _start(merged, run_config.Config(entries, allow_val_change=bool(allow_val_change)))


@checked
def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """Finishes the active run, if there is one."""
    run = active()
    if run is not None:
        run.finish(exit_code, quiet)


def _given(settings: Settings | Mapping[str, Any] | None) -> Settings:
    return settings if isinstance(settings, Settings) else Settings(**dict(settings or {}))


def _refuse_rewinding(resume_from: str | None, fork_from: str | None) -> None:
    # Ignoring these would overwrite rows that the caller meant to keep.
    if resume_from is not None or fork_from is not None:
        raise errors.UsageError(
            "resume_from and fork_from are not supported; resume='must' goes on at the last step"
        )


def _replaces(reinit: bool | str | None) -> bool:
    if reinit in {"create_new"}:
        raise errors.UsageError(
            "several active runs in one process are not supported; reinit=True ends the one before"
        )
    if isinstance(reinit, str):
        return reinit == "finish_previous"
    # In a notebook, running the cell again starts a new run.
    return bool(reinit) or (reinit is None and "ipykernel" in sys.modules)


def _report_ignored(names: Mapping[str, Any]) -> None:
    """Reports ignored arguments; one that is close to a known name gets a suggestion."""
    if not names:
        return
    import difflib

    for name in sorted(names):
        close = difflib.get_close_matches(name, inspect.signature(init).parameters, 1, 0.8)
        if close:
            terminal.termwarn(f"init: {name} is not an argument and is ignored; did you mean {close[0]}?")
        else:
            terminal.termlog(f"init: {name} accepted and ignored", repeat=False)


def _warn_unused(run: Run, arguments: Settings, config: Any) -> None:
    """Warns that a second `init` returns the active run and ignores the other arguments."""
    asked = [name.removeprefix("run_") for name, value in arguments if value is not None]
    if config is not None:
        asked.append("config")
    if asked:
        terminal.termwarn(
            f"run {run.path} is active and goes on; this init's {', '.join(asked)} had no effect "
            "(finish() first, or reinit=True)"
        )


def _print_notices(settings: Settings) -> None:
    terminal.silence(settings.silent)
    terminal.new_run()
    if settings.borrowed:
        terminal.termlog(
            f"{', '.join(settings.borrowed)} read, since no MODELYARD_ variable of that name is set",
            repeat=False,
        )
    if settings.ignored:
        terminal.termlog(f"settings {', '.join(settings.ignored)} accepted and ignored", repeat=False)


def _start(settings: Settings, config: run_config.Config) -> Run:
    mode = {"dryrun": "offline", "run": "online", "shared": "online"}.get(settings.mode or "", settings.mode)
    resume = settings.resume
    if mode == "offline":
        raise errors.UsageError(
            'mode="offline" is not supported in this release: without a server configured, '
            'the embedded one keeps everything on this machine; mode="disabled" keeps nothing'
        )
    if mode is not None and mode not in _MODES:
        raise errors.UsageError(f"mode must be 'online' or 'disabled', not {mode!r}")
    if resume is not None and resume not in _RESUME:
        raise errors.UsageError(f"resume must be 'allow', 'must', 'never' or 'auto', not {resume!r}")
    if resume == "must" and not settings.run_id:
        raise errors.UsageError("resume='must' needs id=, the run to go on with")
    if resume in {"auto", "allow"} and not settings.run_id:
        terminal.termwarn(
            f"resume={resume!r} without id= has nothing to go on with: a new run starts", repeat=False
        )
    if settings.run_id:
        refs.check_run_id(settings.run_id)
    run = _disabled(settings, config) if mode == "disabled" else _online(settings, config)
    _ending.install()
    _activate(run)
    return run


def _online(settings: Settings, config: run_config.Config) -> Run:
    from modelyard.runs import tracking
    from modelyard.workspace import Workspace

    workspace = Workspace(settings)
    record, resumed = tracking.create(
        workspace.connection,
        settings=settings,
        config=config,
        run_id=settings.run_id or _new_id(),
        resume=settings.resume,
    )
    started = record.create_time.timestamp() if resumed else None
    if resumed:
        config = run_config.Config({**record.config, **config}, allow_val_change=config._allow)
    terminal.termlog(f"{'Resumed' if resumed else 'Started'} run {record.display_name} ({record.path})")
    terminal.termlog(f"It goes to {tracking.describe_server(workspace.connection)}")
    link = tracking.Tracking(workspace)
    return Run(
        record, settings, config, tracking=link, resumed=resumed, started=started, on_finish=_deactivate
    )


def _disabled(settings: Settings, config: run_config.Config) -> Run:
    from modelyard.runs.disabled import DisabledRun

    now = datetime.datetime.now(datetime.UTC)
    record = RunRecord(
        id="", run_id=settings.run_id or _new_id(), entity=settings.entity or refs.DEFAULT_ENTITY,
        project=settings.project or refs.DEFAULT_PROJECT, display_name=settings.run_name or "disabled",
        state="running", config={}, summary={}, notes=settings.run_notes or "", tags=settings.run_tags or (),
        group=settings.run_group or "", job_type=settings.job_type or "", created_by="", create_time=now,
        heartbeat_time=None, finish_time=None, exit_code=None, last_step=None, metadata={},
    )  # fmt: skip
    return DisabledRun(record, settings, config, _deactivate)


def _new_id() -> str:
    # Not `random.choices`: training code seeds that generator, and its runs would all get the same id.
    return "".join(random.SystemRandom().choices(_ID_LETTERS, k=8))


def _activate(run: Run | None) -> None:
    active_run.activate(run)
    for observer in _observers:
        observer(run)


def _deactivate(run: Run) -> contextlib.AbstractContextManager[None]:
    """Called when a run ends: there is no active run then. The context spans the end of the run."""
    if active() is run:
        _activate(None)
    return _ending.finishing()
