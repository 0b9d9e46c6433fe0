"""`Run`: one execution of training code."""

from __future__ import annotations

import base64
import enum
import os
import pickle
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from modelyard.arguments import checked_calls
from modelyard.artifacts.artifact import Artifact
from modelyard.artifacts.draft import content_at
from modelyard.capture import saved_files
from modelyard.capture.captures import Captures, keep_console_of_worker
from modelyard.capture.saved_files import SavedFiles
from modelyard.configuration.settings import Settings
from modelyard.contract import errors, refs
from modelyard.host import exit_status, notebook, terminal
from modelyard.media.run_folder import RunMedia
from modelyard.rpc.records import REMOVED
from modelyard.runs.code_files import code_files, is_python, is_set_aside
from modelyard.runs.config import Config, ConfigStatic, Named
from modelyard.runs.history import History
from modelyard.runs.report import run_card
from modelyard.runs.summary import Definition, Summary, goal_of, kinds_of

if TYPE_CHECKING:
    from modelyard.query.lineage import Lineage
    from modelyard.rpc.records import RunRecord
    from modelyard.runs.offline import OfflineTracking
    from modelyard.runs.tracking import Tracking
    from modelyard.sync.destination import RunStatus

Aliases = Sequence[str] | str | None

_LOCKED_SECONDS = 0.05
"""Timeout for the lock of the rows: other threads hold it for less."""


class AlertLevel(enum.Enum):
    """How urgent an alert is."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


@checked_calls(besides=("log",))  # called in every training step: it checks its arguments itself
class Run:
    """Made by `modelyard.init()`. Ends with `finish()`, its `with` block, or the program.

    With `mode="disabled"` every call is accepted and nothing leaves the process. Pickled
    for another process of this machine, such as a spawned worker, it logs to the same
    run there.
    """

    def __init__(
        self,
        record: RunRecord,
        settings: Settings,
        config: Config,
        *,
        tracking: Tracking | OfflineTracking | None,
        resumed: bool = False,
        started: float | None = None,
        on_finish: Callable[[Run], AbstractContextManager[None]] = lambda run: nullcontext(),
    ) -> None:
        self._record = record
        self._settings = settings
        self._config = config
        self._tracking = tracking
        self._resumed = resumed
        self._finished = False
        self._pid = os.getpid()
        self._on_finish = on_finish
        self._name, self._notes, self._tags = record.display_name, record.notes, tuple(record.tags)
        self._summary = Summary(record.summary)
        self.start_time = started or time.time()
        # Each process that shares a run counts its own steps.
        starts_anew = record.last_step is None or settings.mode == "shared"
        next_step = 0 if starts_anew else (record.last_step or 0) + 1
        spool = tracking.spool if tracking else None
        self._starting_step = next_step
        media = RunMedia(lambda: tracking.folder.files, tracking.send_file) if tracking else None
        self._history = History(next_step, self._summary, self.start_time, spool, media)
        if tracking is not None:
            settings.sync_dir = str(tracking.folder.path)
            tracking.start(record, self._history, self.start_time)
            self._summary.on_change(self._summary_changed)
        self._captures: Captures | None = None
        self._saved_files = SavedFiles(tracking.send_file) if tracking is not None else None

    def __repr__(self) -> str:
        return f"<Run {self.path} ({self.name})>"

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        state = "finished" if self._finished else "disabled" if self.disabled else "running"
        return run_card(f"Run {self.name}", self.path, state, self._config, self._summary, self.url)

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """As notebooks show it."""
        return self._repr_html_()

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Shows it: in a notebook below the cell, elsewhere a line on stderr. Whether in a notebook."""
        notebook.say([f"Run {self.name}: {self.url or self.sync_dir}"], self._repr_html_())
        return notebook.is_active()

    @property
    def _attach_id(self) -> str:
        """A text by which `modelyard._attach` gives this run in another process; Lightning passes it on."""
        return base64.b64encode(pickle.dumps(self)).decode()

    # Calls of older releases of W&B.

    def join(self, exit_code: int | None = None) -> None:
        """Same as `finish`."""
        self.finish(exit_code)

    def project_name(self) -> str:
        """Same as `project`."""
        return str(self.project)

    def get_url(self) -> str | None:
        """Same as `url`."""
        return self.url

    def get_project_url(self) -> str | None:
        """Same as `project_url`."""
        return self.project_url

    def get_sweep_url(self) -> None:
        """None: there are no sweeps."""

    def _label(self, *args: Any, **kwargs: Any) -> None:
        """Accepted: libraries call it to say that they made the run."""

    def __copy__(self) -> Run:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Run:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process of this machine it logs to the same run, which goes on here.
        return _attached, (
            self._tracking, self._record, self._settings, self._config.stored(), dict(self._summary),
            self.step, self.start_time,
        )  # fmt: skip

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._captures is not None:
            self._captures.add_error(error)
        self.finish(exit_code=exit_status.of_exception(error))

    id = property(lambda self: self._record.run_id, doc="Short id, unique in the project.")
    entity = property(lambda self: self._record.entity, doc="Who owns it.")
    project = property(lambda self: self._record.project, doc="Its project.")
    group = property(lambda self: self._record.group, doc="Name of the group of runs it belongs to.")
    job_type = property(lambda self: self._record.job_type, doc="Its role in the group.")
    config = property(lambda self: self._config, doc="Its inputs; items and attributes.")
    summary = property(lambda self: self._summary, doc="Its results; items and attributes.")
    settings = property(lambda self: self._settings, doc="The settings it was started with.")
    step = property(lambda self: self._history.step, doc="The step of the next row.")
    resumed = property(lambda self: self._resumed, doc="Whether it continues an existing run.")
    disabled = property(lambda self: self._tracking is None, doc="Whether nothing leaves the process.")
    offline = property(
        lambda self: not self.disabled and not self._record.id,
        doc="Whether it is kept in a folder, to be sent later.",
    )
    mode = property(
        lambda self: "disabled" if self.disabled else "offline" if self.offline else "online",
        doc="`online`, `offline` or `disabled`.",
    )
    path = property(lambda self: f"{self.entity}/{self.project}/{self.id}", doc="`entity/project/run_id`.")
    sweep_id = property(lambda self: None, doc="None: there are no sweeps.")
    sweep_url = property(lambda self: None, doc="None: there are no sweeps.")
    starting_step = property(lambda self: self._starting_step, doc="The step of its first row here.")
    config_static = property(lambda self: ConfigStatic(self._config), doc="Its inputs, read-only.")
    sync_dir = property(lambda self: self._settings.sync_dir, doc="Its local folder; None when disabled.")

    @property
    def url(self) -> str | None:
        """Where the page shows it; without a page the command that shows it. None for an offline run."""
        return self._tracking.url if self._tracking else f"modelyard show {self.path}"

    @property
    def project_url(self) -> str | None:
        """Where the page shows its project; without a page the command that lists it. None: offline."""
        return self._tracking.project_url if self._tracking else f"modelyard ls {self.entity}/{self.project}"

    @property
    def name(self) -> str:
        """Name shown to people; may be set, until the run is finished."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._check_active("name")
        self._name = name
        self._changed("display_name", name)

    @property
    def notes(self) -> str:
        """Free text; may be set, until the run is finished."""
        return self._notes

    @notes.setter
    def notes(self, notes: str) -> None:
        self._check_active("notes")
        self._notes = notes
        self._changed("notes", notes)

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags; may be set, until the run is finished."""
        return self._tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        self._check_active("tags")
        self._tags = (tags,) if isinstance(tags, str) else tuple(dict.fromkeys(tags))
        self._changed("tags", self._tags)

    @property
    def dir(self) -> str:
        """A folder for files: `<dir>/modelyard/run-YYYYMMDD_HHMMSS-<id>/files`, made when it is asked for."""
        return str(self._tracked("dir", ended=True).folder.files)

    def log(
        self,
        data: Mapping[str, Any] | None = None,
        step: int | None = None,
        commit: bool | None = None,
        sync: bool | None = None,
    ) -> None:
        """Logs metrics, as one row of the run's history. Returns at once.

        The row is written to a local file, and a thread sends it from there.

        Without `step` the step counts up and the row ends with the call, unless
        `commit=False` collects into the next row. With `step` the row stays open
        until a larger step, unless `commit=True`. Names of nested dicts are
        joined by `.`. A step below the current one, and a value that cannot be
        stored, are dropped with a warning that names them; the rest is kept.
        Errors: TypeError for anything but a dict with str keys, UsageError after `finish`.
        """
        if self._finished:
            self._check_active("log")
        if data is None:
            data = {}
        if not isinstance(data, Mapping):
            raise TypeError(f"run.log takes a dict, not {type(data).__name__}")
        for key in data:
            if not isinstance(key, str):
                raise TypeError(f"the keys of a logged dict are str, not {type(key).__name__}")
        if step is not None and self._settings.sync_tensorboard:
            terminal.warn_once(
                "step beside tensorboard",
                "with sync_tensorboard the steps of rows count up, and run.log's step is ignored: "
                "log it as a metric",
            )
            step = None
        self._history.log(data, step, commit)

    def define_metric(
        self,
        name: str,
        step_metric: str | Definition | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
    ) -> Definition:
        """Defines what the summary keeps of a metric, or of all with a prefix (`val.*`).

        `summary` is one or more of min, max, mean, best (by `goal`: minimize or
        maximize), first, last, copy, none. The last value of `step_metric` is added to
        rows that lack it, unless `step_sync=False`. `hidden` metrics have no curve in
        the closing lines. What a later call for the same name does not say
        stays as it was, unless `overwrite`.
        """
        self._check_active("define_metric")
        if not isinstance(name, str) or not name or "*" in name[:-1]:
            raise errors.Error(f"define_metric: the name is text, with '*' at its end only, not {name!r}")
        if isinstance(step_metric, Definition):
            step_metric = step_metric.name
        kinds = kinds_of(summary)
        definition = Definition(name, step_metric, step_sync, kinds, goal_of(goal), hidden)
        return self._history.define(definition, overwrite=bool(overwrite))

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """Sends the remaining rows and ends the run: `finished`, or `failed` with an exit code other than 0.

        Calling it again changes nothing. Where the server cannot be reached for
        `MODELYARD_FINISH_TIMEOUT` seconds, it says what is left, and `modelyard sync`
        sends that later. In a forked child it ends the child's row alone.
        """
        self._end(exit_code or 0, quiet=bool(quiet))

    def _kill(self, exit_code: int) -> None:
        """As `finish`, for a run that is stopped from outside: its state is `killed`."""
        self._end(exit_code, killed=True)

    def _end(self, exit_code: int, *, quiet: bool = False, killed: bool = False) -> None:
        if self._finished:
            return
        if os.getpid() != self._pid:  # a forked child: the run goes on in its parent, which sends all rows
            self._history.commit()
            return
        self._finished = True
        with self._on_finish(self):
            if self._saved_files is not None:
                self._saved_files.stop()
            if self._captures is not None:
                self._captures.stop()
            self._history.commit()
            self._config.close(self.path)
            self._summary.close(self.path)
            if self._tracking is not None:
                self._tracking.finish(self._name, self._summary, exit_code, quiet=quiet, killed=killed)

    def _begin(self) -> None:
        """Sends what did not go with the run's creation: the environment, and large entries of the config.

        Artifacts in the config are used.
        """
        if self._tracking is not None:
            self._tracking.find_environment(self._settings, lambda: self.dir, self._set_metadata)
            self._captures = Captures(
                self._settings,
                self._tracking.spool,
                self._tracking.folder.path,
                self._log_row,
                is_first=self._tracking.is_first,
            )
            self._captures.start()
        self._attach_config()

    def _attach_config(self) -> None:
        def changed(key: str) -> None:
            self._changed(f"config.{key}", self._config.stored_value(key, REMOVED))

        self._config.attach(changed, self._use_in_config)

    def _use_in_config(self, entry: Named) -> Artifact | None:
        """The artifact that is, or that is named by, an entry of the config. None: it cannot be looked up."""
        if isinstance(entry, Artifact):
            return self.use_artifact(entry)
        if self._tracking is None or self.offline:
            return None
        return self.use_artifact(self._tracking.artifacts.named(entry))

    def _log_row(self, points: Mapping[str, float]) -> None:
        """Logs a row that is complete."""
        if os.getpid() == self._pid:
            self._history.log(points, None, True)

    def _set_metadata(self, key: str, value: Any) -> None:
        self._changed(f"metadata.{key}", value, ending=True)

    def _send_now(self) -> None:
        """Sends the rows that are complete."""
        if self._captures is not None:
            self._captures.flush()
        if self._tracking is not None:
            self._tracking.flush()

    def _is_being_logged_to(self) -> bool:
        """Whether the lock of the rows is held; in a signal handler it is by the interrupted code."""
        lock = self._history.lock
        if lock.acquire(timeout=_LOCKED_SECONDS):
            lock.release()
            return False
        return True

    # Artifacts.

    def log_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        aliases: Aliases = None,
        tags: Sequence[str] | str | None = None,
    ) -> Artifact:
        """Logs an artifact, or a file or folder as one, and returns it.

        Its files may change from then on. Equal content makes no new version. A given
        Artifact becomes the logged one. On a server that is not embedded, content of more
        than 1 MiB is copied and sent in the background: `state` is PENDING and `wait()`
        waits until it is committed. Errors: ValueError for bad names and for another type
        than the name has.
        """
        tracking = self._tracked("log_artifact")
        if isinstance(artifact_or_path, Artifact):
            return tracking.artifacts.log(artifact_or_path, aliases, tags)
        return tracking.artifacts.log_path(artifact_or_path, name, type, aliases, tags)

    def use_artifact(
        self,
        artifact_or_name: Artifact | str,
        type: str | None = None,
        aliases: Aliases = None,
        use_as: str | None = None,
    ) -> Artifact:
        """Records that the run uses a version, and returns it. A bare name: `:latest` in its project."""
        return self._tracked("use_artifact").artifacts.use(artifact_or_name, type, aliases, use_as)

    def log_model(
        self, path: str | os.PathLike[str], name: str | None = None, aliases: Aliases = None
    ) -> None:
        """Logs a file or a folder as a model; it may be changed or deleted from then on.

        As `log_artifact`, it may be sent in the background; `use_model` waits for it.
        Default name: `run-<run id>-<basename of path>`. The version gets the aliases
        given, and `latest`. Errors: ValueError, AssertionError where the name holds
        artifacts of a type without "model" in it.
        """
        self._tracked("log_model").artifacts.log_model(path, name, aliases)

    def use_model(self, name: str) -> str:
        """Downloads a model and returns its absolute path: of its only file or folder, else of all files.

        `[[entity/]project/]name[:alias|:vN]`. The use is recorded first. Errors:
        NotFound (a CommError and a ValueError), AssertionError where it is no model.
        """
        return self._tracked("use_model").artifacts.use_model(name)

    def link_model(
        self,
        path: str | os.PathLike[str],
        registered_model_name: str,
        name: str | None = None,
        aliases: Aliases = None,
    ) -> Artifact | None:
        """Logs a path as a model and links it into `model-registry/<registered_model_name>`.

        The registered model is made when it does not exist; `aliases` go to the
        link only. A path that `use_model` returned, unchanged, is not logged again. Returns
        the link, once it is made; None where the server is away: then it is made later.
        """
        return self._tracked("link_model").artifacts.link_model(path, registered_model_name, name, aliases)

    def link_artifact(self, artifact: Artifact, target_path: str, aliases: Aliases = None) -> Artifact:
        """Links a version into a registered model and returns the link; a draft is logged first.

        `target_path` is `name`, `project/name` or `entity/project/name`; what it leaves out is the
        run's. Registries are projects: `model-registry/name`, `wandb-registry-<r>/name`.
        """
        return self._tracked("link_artifact").artifacts.link(artifact, target_path, aliases)

    def upsert_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        aliases: Aliases = None,
        distributed_id: str | None = None,
    ) -> Artifact:
        """Adds files to a version that several runs make together; `finish_artifact` makes the version.

        Runs with the same `distributed_id` (default: the artifact's, else the run's group) and name make the
        same version. Of a path that two runs add, the last one wins. Returns when
        the files are stored; the artifact stays a draft. TypeError without either id.
        """
        tracking = self._tracked("upsert_artifact")
        draft = _as_draft(artifact_or_path, name, type, aliases)
        tracking.artifacts.upsert(draft, distributed_id)
        return draft

    def finish_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        aliases: Aliases = None,
        distributed_id: str | None = None,
    ) -> Artifact:
        """Makes the version of the files that the runs added with `upsert_artifact`, and of those given here.

        Call it once, after all runs have added their files. TypeError without a
        `distributed_id` or group.
        """
        tracking = self._tracked("finish_artifact")
        return tracking.artifacts.finish(_as_draft(artifact_or_path, name, type, aliases), distributed_id)

    def log_code(
        self,
        root: str | os.PathLike[str] | None = ".",
        name: str | None = None,
        include_fn: Callable[..., bool] = is_python,
        exclude_fn: Callable[..., bool] = is_set_aside,
    ) -> Artifact | None:
        """Logs source code below `root` as an artifact of type `code`; None when there is none.

        Default name: `source-<project>-<folder>`. The functions are called with the
        path, and with the root if they take two arguments. Default: `.py` files,
        without hidden folders and those that modelyard and Python make.
        """
        tracking = self._tracked("log_code")
        files = code_files(root or ".", include_fn, exclude_fn)
        if not files:
            return None
        folder = os.path.basename(os.path.abspath(root or "."))
        draft = Artifact(name or refs.artifact_name(f"source-{self._record.project}-{folder}"), "code")
        for file in files:
            draft.add_file(file.source, file.path)
        return tracking.artifacts.log(draft)

    def lineage(self, depth: int = 2, direction: str = "both") -> Lineage:
        """Versions and runs around it: `direction` is upstream, downstream or both; `depth` 1 to 32 steps."""
        return self._tracked("lineage").lineage(depth, direction)

    # Local files, alerts, and calls without effect.

    def save(
        self,
        glob_str: str | os.PathLike[str],
        base_path: str | os.PathLike[str] | None = None,
        policy: str = "live",
    ) -> list[str]:
        """Sends the files that match, and keeps a link (`now`: a copy) of each in `run.dir`; returns these.

        `policy` says when: `live`, now and after each change; `end`, when the run ends;
        `now`, once. A file's path in the run is that from `base_path`; default: a relative
        pattern keeps its folders, an absolute one the last of them. ValueError for
        another policy and for a pattern that leaves the base path.
        """
        self._check_active("save")
        if policy not in saved_files.POLICIES:
            raise ValueError('save: only the policies "live", "end" and "now" are supported')
        pattern = os.fspath(glob_str)
        if "://" in pattern:
            terminal.termwarn(f"save: {pattern} is not a local file; log it as an artifact's reference")
            return []
        base = None if base_path is None else os.fspath(base_path)
        folder = Path(self.dir)
        found = saved_files.matches(pattern, base)
        placed = [saved_files.place(match, folder, copied=policy == "now") for match in found]
        for match, target in zip(found, placed, strict=True):
            if self._saved_files is not None:
                self._saved_files.add(target if policy == "now" else match.source, match.path, policy)
        return [str(target) for target in placed]

    def restore(
        self,
        name: str,
        run_path: str | None = None,
        replace: bool = False,
        root: str | os.PathLike[str] | None = None,
    ) -> TextIO | None:
        """Downloads a file of a run below `root` and opens it for reading; None when there is no such file.

        Default: of this run, into `dir`. `run_path` is `[[entity/]project/]run_id`. A file that is
        there already is opened as it is, unless `replace`.
        """
        folder = self.dir if root is None else os.fspath(root)
        local = Path(folder, name)
        if local.exists() and not replace:
            return open(local, encoding="utf-8")
        tracking = self._tracked("restore", ended=True)
        return tracking.restore(run_path or self.path, name, folder, replace=replace)

    def status(self) -> RunStatus:
        """How many rows this process logged, and how many of them wait to be sent."""
        return self._tracked("status", ended=True).status()

    def mark_preempting(self) -> None:
        """Sends what was logged so far at once: the machine is about to be taken away.

        The run stays `running`; resume it with `init(id=…, resume="must")`.
        """
        self._check_active("mark_preempting")
        self._send_now()

    def write_logs(self, text: str) -> None:
        """Adds text to the run's console, without printing it."""
        self._check_active("write_logs")
        if self._captures is not None:
            self._captures.write(text)

    def alert(
        self, title: str, text: Any, level: AlertLevel | str | None = None, wait_duration: Any = None
    ) -> None:
        """Prints the alert; it is not sent."""
        self._check_active("alert")
        shown = level.value if isinstance(level, AlertLevel) else level or "INFO"
        terminal.termwarn(f"alert ({shown}): {title}: {text}")

    def watch(self, models: Any = None, *args: Any, **kwargs: Any) -> None:
        """Does nothing: gradients are not logged."""
        self._check_active("watch")

    def unwatch(self, models: Any = None) -> None:
        """Does nothing; see `watch`."""
        self._check_active("unwatch")

    def pin_config_keys(self, keys: Sequence[str] = ()) -> None:
        """Does nothing: no list of runs has columns to pin."""
        self._check_active("pin_config_keys")

    def _check_active(self, call: str) -> None:
        if self._finished:
            raise errors.UsageError(f"run {self.path} is finished: {call} needs a new modelyard.init()")

    def _tracked(self, call: str, *, ended: bool = False) -> Tracking | OfflineTracking:
        if not ended:
            self._check_active(call)
        if self._tracking is None:
            raise errors.UsageError(f"a disabled run sends nothing: {call}() needs a server")
        return self._tracking

    def _changed(self, field: str, value: Any, *, ending: bool = False) -> None:
        if self._tracking is not None and (ending or not self._finished):
            self._tracking.changed(field, value)

    def _summary_changed(self, key: str) -> None:
        self._changed(f"summary.{key}", self._summary.get(key, REMOVED))


def _attached(
    tracking: Tracking | OfflineTracking,
    record: RunRecord,
    settings: Settings,
    entries: dict[str, Any],
    summary: dict[str, Any],
    step: int,
    start_time: float,
) -> Run:
    """A pickled run in the process that reads it."""
    config = Config({})
    config.adopt(entries)
    record = replace(record, summary=summary, last_step=step - 1 if step else None)
    run = Run(record, settings, config, tracking=tracking, started=start_time)
    run._attach_config()
    if tracking is not None:
        keep_console_of_worker(settings, tracking.folder.row_spools.path)
    return run


def _as_draft(
    artifact_or_path: Artifact | str | os.PathLike[str], name: str | None, type: str | None, aliases: Aliases
) -> Artifact:
    if isinstance(artifact_or_path, Artifact):
        if not artifact_or_path.is_draft():
            raise errors.ArtifactFinalizedError(
                f"{artifact_or_path.name} is logged and its content is frozen"
            )
        draft = artifact_or_path
    else:
        if not name or not type:
            raise ValueError("a path needs the name and type of its artifact")
        draft = Artifact(name, type)
        files, references = content_at(artifact_or_path)
        for file in files:
            draft.add_file(file.source, file.path)
        draft._draft("upsert_artifact").add_references(references)
    draft.aliases.extend([aliases] if isinstance(aliases, str) else aliases or ())
    return draft
