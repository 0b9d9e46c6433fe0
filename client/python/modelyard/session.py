"""`init`, `finish`, and the module-level functions that use the module's run.

The active runs of a process are kept in `artifacts.active_run`, since artifacts use them
too. One of them is the module's; those made with `reinit="create_new"` are not.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime
import functools
import inspect
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from modelyard import util
from modelyard.arguments import checked
from modelyard.artifacts import active_run
from modelyard.configuration.settings import Settings, of_run, with_defaults
from modelyard.contract import errors, refs
from modelyard.conversion import config_sources
from modelyard.host import notebook, terminal
from modelyard.host.process_end import Ending
from modelyard.query import page_addresses
from modelyard.rpc.records import RunRecord
from modelyard.runs.config import Config
from modelyard.runs.report import view_line
from modelyard.runs.run import Run

_P = ParamSpec("_P")
_R = TypeVar("_R")
_MODES = {"online", "offline", "disabled", "shared"}
_RESUME = {"allow", "must", "never", "auto"}
_REINIT = {"default", "return_previous", "finish_previous", "create_new"}


_observers: list[Callable[[Run | None], None]] = []


def active() -> Run | None:
    """The module's run, if it is not finished; None without one and in a forked process."""
    run = active_run.active()
    return run if isinstance(run, Run) else None


def active_runs() -> list[Run]:
    """Every run that is not finished, oldest first."""
    return [run for run in active_run.active_runs() if isinstance(run, Run)]


_ending = Ending(active_runs)


@contextlib.contextmanager
def _run_for_saving(
    project: str | None, settings: Settings | Mapping[str, Any] | None
) -> Iterator[active_run.ActiveRun]:
    """A run of job type `auto` that says nothing unless `settings` are given."""
    try:
        with init(project=project, job_type="auto", settings=settings or {"silent": True}) as run:
            yield run
    finally:
        terminal.silence(None)


active_run.start_with(_run_for_saving)


def observe(observer: Callable[[Run | None], None]) -> None:
    """Calls `observer` with the module's run, or None, whenever it changes."""
    _observers.append(observer)


def require_run(call: str) -> Run:
    """The module's run. Error when `init` was not called."""
    run = active_run.require(call)
    assert isinstance(run, Run)
    return run


def of_active_run(method: Callable[Concatenate[Run, _P], _R]) -> Callable[_P, _R]:
    """A function that calls a method of the module's run; Error when there is none."""

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
    entity: str | None = None, project: str | None = None, dir: str | os.PathLike[str] | None = None,
    id: str | float | None = None, name: str | float | None = None, notes: str | float | None = None,
    tags: Sequence[str] | str | None = None, config: Any = None,
    config_exclude_keys: Sequence[str] | None = None, config_include_keys: Sequence[str] | None = None,
    allow_val_change: bool | None = None, group: str | float | None = None,
    job_type: str | float | None = None, mode: str | None = None, force: bool | None = None,
    reinit: bool | str | None = None, resume: bool | str | None = None, save_code: bool | None = None,
    settings: Settings | Mapping[str, Any] | None = None, resume_from: str | None = None,
    fork_from: str | None = None, sync_tensorboard: bool | None = None, tensorboard: bool | None = None,
    **ignored: Any,
) -> Run:  # fmt: skip
    """Starts a run and makes it the module's; with one active already, returns that one.

    `entity` and `project` are created at their first use; defaults: the key's
    entity (embedded: `local`) and `uncategorized`. `config` is a dict, a
    Namespace, a dataclass or the path of a YAML file; `config-defaults.yaml` in the
    working directory has the values of keys that it lacks. A number as `id`, `name`,
    `notes`, `group` or `job_type` is converted to text. `mode` is `online`, `shared`
    (joins the run `id` if it exists), `offline` (kept in a folder for `modelyard sync`)
    or `disabled`.

    `resume` says what to do when `id` exists: `allow` and `must` go on with the run, `never`
    is an error; by default a new attempt of it begins, and earlier ones stay readable. `reinit` says
    what to do with active runs: `return_previous` (default), `finish_previous` or True
    (default in notebooks), `create_new`, which leaves them and the module's run alone.
    `sync_tensorboard` (or `tensorboard`) logs the scalars that the process writes for
    TensorBoard. `save_code` keeps the main script or notebook as a file of the run.
    Without a server configured, the embedded one is found or started. Errors:
    CommError, ValueError, ConfigError.
    """
    _report_ignored(ignored)
    arguments = Settings(
        entity=entity, project=project, dir=dir, run_id=id, run_name=name, run_notes=notes,
        run_tags=tags, run_group=group, job_type=job_type, mode=mode, resume=resume, reinit=reinit,
        save_code=save_code,
        sync_tensorboard=tensorboard if sync_tensorboard is None else sync_tensorboard,
    )  # fmt: skip
    given = arguments.over(_given(settings))
    _refuse_rewinding(resume_from or given.get("resume_from"), fork_from or given.get("fork_from"))
    rule = _reinit(with_defaults(given).reinit)
    if rule == "return_previous" and active_runs():
        _warn_unused(active_runs()[-1], arguments, config)
        return active_runs()[-1]
    if rule == "finish_previous":
        for before in reversed(active_runs()):
            before.finish()
    entries = config_sources.select(config_sources.read(config), config_include_keys, config_exclude_keys)
    return _begin(given, Config(entries, allow_val_change=_may_change(allow_val_change)), rule)


@checked
def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """Finishes the module's run, if there is one."""
    run = active()
    if run is not None:
        run.finish(exit_code, quiet)


def _given(settings: Settings | Mapping[str, Any] | None) -> Settings:
    return settings if isinstance(settings, Settings) else Settings(**dict(settings or {}))


def _begin(given: Settings, config: Config, rule: str) -> Run:
    """Starts a run; `rule` is that of `_reinit`."""
    merged = of_run(given)
    _print_notices(merged)
    defaults = config_sources.read_defaults(merged.config_paths or ())
    run = _start(merged, config)
    run.config.setdefaults(defaults)
    _activate(run, current=rule != "create_new")
    run._begin()
    return run


def _refuse_rewinding(resume_from: str | None, fork_from: str | None) -> None:
    # Ignoring these would overwrite rows that the caller meant to keep.
    if resume_from is not None or fork_from is not None:
        raise errors.UsageError(
            "resume_from and fork_from are not supported; resume='must' goes on at the last step"
        )


def _reinit(asked: str | None) -> str:
    """What to do with active runs: `return_previous`, `finish_previous` or `create_new`."""
    if asked not in {None, *_REINIT}:
        raise errors.UsageError(
            f"reinit must be a bool or one of {', '.join(sorted(_REINIT))}, not {asked!r}"
        )
    if asked in {None, "default"}:
        # In a notebook, running the cell again starts a new run.
        return "finish_previous" if notebook.is_active() else "return_previous"
    return str(asked)


def _may_change(allow_val_change: bool | None) -> bool:
    """Whether keys of the config may be set again; the cells of a notebook are run again and again."""
    return notebook.is_active() if allow_val_change is None else allow_val_change


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
    asked = [name.removeprefix("run_") for name, value in arguments if value is not None and name != "reinit"]
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


def _start(settings: Settings, config: Config) -> Run:
    mode = {"dryrun": "offline", "run": "online"}.get(settings.mode or "", settings.mode)
    resume = settings.resume
    if mode is not None and mode not in _MODES:
        raise errors.UsageError(f"mode must be 'online', 'offline', 'shared' or 'disabled', not {mode!r}")
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
    start = {"disabled": _disabled, "offline": _offline}.get(mode or "", _online)
    run = start(settings, config)
    _ending.install()
    return run


def _online(settings: Settings, config: Config) -> Run:
    from modelyard.runs import tracking
    from modelyard.runs.summary_replay import ReplayedSummary
    from modelyard.spool.folders import RunFolder
    from modelyard.sync import left_behind
    from modelyard.workspace import Workspace

    workspace = Workspace(settings)
    run_id = settings.run_id or util.generate_id()
    if settings.run_id and settings.resume in {"allow", "auto", "must"}:
        left_behind.send_before_resuming(settings, workspace.connection, run_id, ReplayedSummary)
    record, resumed = tracking.create(workspace.connection, settings=settings, config=config, run_id=run_id)
    started = record.create_time.timestamp() if resumed else None
    config.adopt(record.config)
    again = record.attempt > 1 and not resumed
    start = "Resumed" if resumed else f"Started attempt {record.attempt} of" if again else "Started"
    began = f"{start} run {record.display_name}"
    server = tracking.describe_server(workspace.connection)
    url = page_addresses.of_run(workspace.connection, record.path)
    notebook.say(
        [f"{began} ({record.path})", f"It goes to {server}", view_line(url)],
        notebook.card(began, {"Path": record.path, "Goes to": server}, shown_by=url),
    )
    link = tracking.Tracking(
        workspace,
        RunFolder.make(settings.local_root, run_id),
        ends_run=not (resumed and settings.mode == "shared"),
    )
    return Run(
        record, settings, config, tracking=link, resumed=resumed, started=started, on_finish=_deactivate
    )


def _offline(settings: Settings, config: Config) -> Run:
    from modelyard.runs import environment, tracking
    from modelyard.runs.offline import OfflineTracking
    from modelyard.spool.folders import RunFolder
    from modelyard.sync import run_info
    from modelyard.workspace import Workspace

    record = _record_without_server(settings, "offline")
    policy = tracking.policy_name(settings)
    info = run_info.of_offline(
        settings, record.run_id, policy, config.first_entries(), environment.at_once(settings)
    )
    folder = RunFolder.make(settings.local_root, record.run_id, offline=True)
    terminal.termlog(f"Started run {record.run_id} offline; it is kept in {folder.path}")
    link = OfflineTracking(Workspace(settings), folder, info)
    return Run(record, settings, config, tracking=link, on_finish=_deactivate)


def _disabled(settings: Settings, config: Config) -> Run:
    from modelyard.runs.disabled import DisabledRun

    return DisabledRun(_record_without_server(settings, "disabled"), settings, config, _deactivate)


def _record_without_server(settings: Settings, name: str) -> RunRecord:
    """A run that no server has; `name` is shown where the settings have none."""
    now = datetime.datetime.now(datetime.UTC)
    return RunRecord(
        id="", run_id=settings.run_id or util.generate_id(), entity=settings.entity or refs.DEFAULT_ENTITY,
        project=settings.project or refs.DEFAULT_PROJECT, display_name=settings.run_name or name,
        state="running", config={}, summary={}, notes=settings.run_notes or "", tags=settings.run_tags or (),
        group=settings.run_group or "", job_type=settings.job_type or "", created_by="", create_time=now,
        heartbeat_time=None, finish_time=None, exit_code=None, last_step=None, metadata={},
    )  # fmt: skip


def _activate(run: Run, *, current: bool) -> None:
    active_run.activate(run, current=current)
    if current:
        _report(run)


def _report(run: Run | None) -> None:
    """Tells the observers of the module's run."""
    for observer in _observers:
        observer(run)


def attach_from(token: str) -> Run:
    """The run of another process of this machine, made of its `_attach_id`. It becomes the module's run.

    ValueError for a text that is none.
    """
    try:
        run = pickle.loads(base64.b64decode(token, validate=True))  # noqa: S301  # a run of this program
    except (binascii.Error, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"not the _attach_id of a run: {error}") from None
    assert isinstance(run, Run)
    _activate(run, current=True)
    return run


def _deactivate(run: Run) -> contextlib.AbstractContextManager[None]:
    """Called when a run ends: it is not active any more. The context spans the end of the run."""
    was_current = active() is run
    active_run.deactivate(run)
    if was_current:
        _report(None)
    return _ending.finishing()
