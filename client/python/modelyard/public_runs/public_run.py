"""`PublicRun`: a run as the server has it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import datetime
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from modelyard import wandb_names
from modelyard.arguments import checked_calls, require
from modelyard.artifacts.artifact import Artifact, Workspace
from modelyard.contract import errors, refs
from modelyard.contract.values import identical
from modelyard.host import notebook
from modelyard.public_runs import files, history, media, series
from modelyard.public_runs.files import PublicFile
from modelyard.public_runs.following import Following
from modelyard.public_runs.summary import PublicSummary
from modelyard.query import lineage_calls, page_addresses
from modelyard.query.lineage import Lineage
from modelyard.query.listing import Listing
from modelyard.rpc import list_calls, metric_scan, retry, run_calls, version_calls
from modelyard.rpc.records import REMOVED, ConsoleLine, RunRecord
from modelyard.runs.report import run_card
from modelyard.spool import pending_versions
from modelyard.transfer import transfer
from modelyard.transfer.run_file_upload import OneRun


@checked_calls()
class PublicRun:
    """A run as the server has it. Name, notes, tags, config and summary may be changed, then `update()`."""

    def __init__(self, workspace: Workspace, record: RunRecord, *, fixed_attempt: bool = False) -> None:
        self._workspace = workspace
        self._fixed_attempt = fixed_attempt
        self._set_record(record)

    def _set_record(self, record: RunRecord) -> None:
        self._record = record
        self._read: frozenset[str] = frozenset()
        self.name = record.display_name
        """Name shown to people."""
        self.notes = record.notes
        """Free text."""
        self.tags = list(record.tags)
        """Tags."""
        self._config: dict[str, Any] | None = None
        self._summary: PublicSummary | None = None

    def _stored(self, part: str) -> dict[str, Any]:
        """A map as the server has it, which is read now if the list did not have it."""
        late = self._record.late
        if late is not None and part in late.parts and part not in self._read:
            found: Any = {part: late(self._record, part)}
            self._record = dataclasses.replace(self._record, **found)
            self._read |= {part}  # a copy has its own
        stored: dict[str, Any] = getattr(self._record, part)
        return stored

    @property
    def config(self) -> dict[str, Any]:
        """Its inputs."""
        if self._config is None:
            self._config = copy.deepcopy(self._stored("config"))
        return self._config

    @config.setter
    def config(self, entries: Mapping[str, Any]) -> None:
        self._config = dict(entries)

    @property
    def summary(self) -> PublicSummary:
        """Its results."""
        if self._summary is None:
            self._summary = PublicSummary(copy.deepcopy(self._stored("summary")), self.update)
        return self._summary

    @summary.setter
    def summary(self, entries: Mapping[str, Any]) -> None:
        self._summary = PublicSummary(dict(entries), self.update)

    if not TYPE_CHECKING:  # for type checkers, a missing name is an error

        def __getattr__(self, name: str) -> NoReturn:
            raise wandb_names.missing("public run", "a run of Api", name)

    id = property(lambda self: self._record.run_id, doc="Short id, unique in the project.")
    entity = property(lambda self: self._record.entity, doc="Who owns it.")
    project = property(lambda self: self._record.project, doc="Its project.")
    state = property(lambda self: self._record.state, doc="running, finished, failed, crashed or killed.")
    group = property(lambda self: self._record.group, doc="Name of the group of runs it belongs to.")
    job_type = property(lambda self: self._record.job_type, doc="Its role in the group.")
    user = property(lambda self: self._record.created_by, doc="Who made it.")
    metadata = property(lambda self: dict(self._stored("metadata")), doc="Where it ran.")
    metric_definitions = property(
        lambda self: dict(self._record.metric_definitions),
        doc="What `define_metric` said, by name or `prefix*`: a dict of the arguments that were given.",
    )
    attempt = property(lambda self: self._record.attempt, doc="Number of the attempt, from 1.")
    exit_code = property(lambda self: self._record.exit_code, doc="Exit code; None if nobody reported one.")
    username = property(lambda self: self._record.created_by, doc="Same as `user`.")
    storage_id = property(lambda self: self._record.id, doc="Global id.")
    sweep = property(lambda self: None, doc="None: there are no sweeps.")
    sweep_name = property(lambda self: None, doc="None: there are no sweeps.")
    path = property(lambda self: self._record.path.split("/"), doc="`[entity, project, run_id]`.")
    url = property(
        lambda self: page_addresses.of_run(self._workspace.connection, self._record.path),
        doc="Where the page shows it; without a page the command that shows it.",
    )
    lastHistoryStep = property(  # noqa: N815  # as users know it
        lambda self: -1 if self._record.last_step is None else self._record.last_step,
        doc="The largest step; -1 without rows.",
    )

    @property
    def created_at(self) -> str:
        """ISO 8601, UTC."""
        return self._record.create_time.isoformat()

    @property
    def heartbeat_at(self) -> str | None:
        """Time of its last call: ISO 8601, UTC."""
        moment: datetime.datetime | None = self._record.heartbeat_time
        return moment.isoformat() if moment else None

    @property
    def summary_metrics(self) -> dict[str, Any]:
        """Its results, as a dict of their own."""
        return copy.deepcopy(dict(self.summary))

    @property
    def system_metrics(self) -> dict[str, Any]:
        """The newest value of each metric of its machine."""
        return series.latest(self._workspace.connection, self._source(system=True))

    @property
    def history_keys(self) -> dict[str, Any]:
        """Its metrics: `keys` has for each `count`, `first_step` and `last_step`; `lastStep` is the last."""
        found = series.metrics(self._workspace.connection, self._source())
        keys = {
            each.key: {"count": each.point_count, "first_step": each.first_step, "last_step": each.last_step}
            for each in found
        }
        return {"keys": keys, "lastStep": self.lastHistoryStep}

    @property
    def rawconfig(self) -> dict[str, Any]:
        """Its inputs, as a dict of their own."""
        return copy.deepcopy(self.config)

    @property
    def json_config(self) -> str:
        """Its inputs as JSON, each as `{"value": …, "desc": null}`."""
        return json.dumps({key: {"value": value, "desc": None} for key, value in self.config.items()})

    def load(self, force: bool = True) -> PublicRun:
        """Reads it again; changes that were not sent are lost. Errors: NotFound."""
        attempt = self._record.attempt if self._fixed_attempt else None
        self._set_record(run_calls.run_by_id(self._workspace.connection, self._record.id, attempt))
        return self

    refresh = load

    def attempts(self) -> list[PublicRun]:
        """Its attempts, the newest first: one more for each time it was begun anew under its id.

        Each has the config, results and rows of its own.
        """
        try:
            found = list(list_calls.run_attempts(self._workspace.connection, self._record.id))
        except errors.Unimplemented:  # a server before there were attempts
            found = [self._record]
        cls = type(self)
        return [cls(self._workspace, each, fixed_attempt=number > 0) for number, each in enumerate(found)]

    def wait_until_finished(self) -> None:
        """Returns when it has ended, or when it fell silent for five minutes. Errors: NotFound."""
        while self.load().state == "running":
            following = Following(self._workspace.connection, self._record, state_only=True)
            with contextlib.closing(following):
                for _ in following:
                    pass

    def delete(self, delete_artifacts: bool = False) -> None:
        """Deletes it with its rows; the versions it made stay, unless `delete_artifacts`."""
        if delete_artifacts:
            for artifact in self.logged_artifacts():
                artifact.delete(delete_aliases=True)
        run_calls.delete_run(self._workspace.connection, self._record.id)

    def update(self) -> None:
        """Sends the changes made here; changes by others stay.

        Of an earlier attempt, what is kept of that one is changed. Errors: NotFound, ValueError.
        """
        for field, kind in (("name", "str"), ("notes", "str"), ("tags", "Sequence[str]")):
            require("update", field, kind, getattr(self, field))
        fields = {"display_name": self.name, "notes": self.notes, "tags": tuple(self.tags)}
        changed: dict[str, Any] = {
            field: now for field, now in fields.items() if now != getattr(self._record, field)
        }
        for field, entries in (("config", self._config), ("summary", self._summary)):
            if entries is None:  # nobody looked at it
                continue
            stored = self._stored(field)
            for key in {**stored, **entries}:
                if key not in entries or key not in stored or not identical(entries[key], stored[key]):
                    changed[f"{field}.{key}"] = entries.get(key, REMOVED)
        if not changed:
            return
        connection, before = self._workspace.connection, self._record

        def send(stored: RunRecord) -> RunRecord:
            if "tags" in changed and stored is not before:
                kept = [tag for tag in stored.tags if tag in self.tags or tag not in before.tags]
                changed["tags"] = tuple(dict.fromkeys([*kept, *self.tags]))
            return run_calls.update_run(connection, stored, changed)

        self._set_record(
            retry.on_latest(send, before, lambda: run_calls.run_by_id(connection, before.id, before.attempt))
        )

    save = update

    def history(
        self,
        samples: int = 500,
        keys: list[str] | None = None,
        x_axis: str = "_step",
        pandas: bool = True,
        stream: str = "default",
    ) -> Any:
        """Its rows, ordered by `x_axis`: all, or if there are more, `samples` that show its course.

        Those are spaced evenly, and have the least and largest values of each metric in its
        part of the run: a peak of one row is not lost. With `keys`, only rows that have all
        of them. `stream="system"`: the metrics of the machine. A DataFrame where pandas is
        installed, else (or with `pandas=False`) a list of dicts.
        """
        if stream not in {"default", "system"}:
            raise ValueError(f"stream is default or system, not {stream!r}")
        source = self._source(system=stream == "system")
        rows = history.sampled(self._workspace.connection, source, samples, keys, x_axis)
        return history.as_frame(rows, pandas)

    def scan_history(
        self,
        keys: list[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        use_cache: bool = True,
    ) -> Iterator[dict[str, Any]]:
        """Its rows from `min_step` on, those from `max_step` on excluded, as they arrive.

        With `keys` only rows that have all of them, and only these keys; else each row has
        `_step`, `_timestamp` and `_runtime` too. `use_cache` is accepted: nothing is cached.
        """
        connection = self._workspace.connection
        return metric_scan.rows(connection, self._source(), keys or (), min_step or 0, max_step)

    beta_scan_history = scan_history

    def _source(self, *, system: bool = False) -> metric_scan.Source:
        record = self._record
        return metric_scan.Source(record.id, record.create_time.timestamp(), record.attempt, system)

    def console_lines(self, text: str = "", last: int | None = None) -> Iterator[ConsoleLine]:
        """What it wrote to its console, oldest first: lines that contain `text`, in upper or lower case.

        Of a progress bar only the last state is kept, and of all lines the last 10,000. With
        `last`, only so many of the end.
        """
        if last is not None and last < 1:
            raise ValueError(f"last is at least 1, not {last}")
        record = self._record
        return list_calls.console_lines(self._workspace.connection, record.id, record.attempt, text, last)

    def files(
        self, names: list[str] | None = None, per_page: int = 50, pattern: str | None = None
    ) -> Listing[PublicFile]:
        """Its files: all, those of `names`, or like a `pattern` such as `%.png`, in which % is any text."""
        if names and pattern:
            raise ValueError("give names or a pattern, not both")
        found = files.found(self._workspace.connection, self._source(), names, pattern)
        listing: Listing[PublicFile] = Listing(found, lambda: sum(1 for _ in listing))
        return listing

    def file(self, name: str) -> PublicFile:
        """A file of it. Errors: NotFound."""
        for found in self.files([name]):
            return found
        raise errors.NotFound(f"run {self._record.path} has no file {name!r}; files() lists them")

    def upload_file(self, path: str | os.PathLike[str], root: str | os.PathLike[str] = ".") -> PublicFile:
        """Adds a file to it, or replaces the one of the same name, which is its path from `root`.

        Errors: ValueError for a file outside `root`, LocalFileError, CommError.
        """
        record = self._record
        run = OneRun(record.id, record.attempt, record.entity, record.project)
        return self.file(files.upload(self._workspace.connection, run, os.fspath(path), os.fspath(root)))

    def media(self, value: Any, root: str | os.PathLike[str] = ".") -> Any:
        """The Image, Table or other media that a value of a row or of the summary stands for.

        Its files are downloaded below `root`, unless they are there. `value` is a map with `_type`,
        or a list or dict of such maps. Errors: NotFound for a file that was not sent yet,
        ValueError for paths that lead out of `root`.
        """
        return media.restored(value, root, self)

    def _restore(self, name: str, root: str, *, replace: bool) -> TextIO | None:
        """A file of it, downloaded below `root` unless it is there; None when it has no such file."""
        for found in self.files([name]):
            return found.download(root, replace=replace, exist_ok=True)
        return None

    def logged_artifacts(self, per_page: int = 100) -> Listing[Artifact]:
        """The versions it made, without deleted ones, ordered by ref."""
        pending_versions.wait_for_run(self._workspace.connection.address, self._record.id)
        return self._versions("downstream")

    def used_artifacts(self, per_page: int = 100) -> Listing[Artifact]:
        """The versions it used, without deleted ones, ordered by ref."""
        return self._versions("upstream")

    def log_artifact(
        self,
        artifact: Artifact,
        aliases: Sequence[str] | str | None = None,
        tags: Sequence[str] | str | None = None,
    ) -> Artifact:
        """Records that it made a version of its project that was logged before; adds aliases and tags.

        Errors: InvalidField (a CommError and a ValueError) for a draft and for a version of another project.
        """
        version = _logged("log_artifact", artifact).source_artifact
        if (version.source_entity, version.source_project) != (self.entity, self.project):
            raise errors.InvalidField.of("artifact", f"{version.name} is in another project than the run")
        ttl = version.ttl
        header = transfer.NewVersion(
            entity=self.entity,
            project=self.project,
            name=version.collection.name,
            type=version.type,
            description="",
            metadata={},
            tags=[],
            aliases=refs.alias_list(aliases),
            run_id=self._record.id,
            ttl_seconds=ttl.total_seconds() if ttl else None,
            base_version_id=version.id,
        )
        transfer.upload(self._workspace.connection, header, [], cache=self._workspace.cache)
        version.tags.extend([tags] if isinstance(tags, str) else tags or ())
        version.save()
        return version

    def use_artifact(self, artifact: Artifact, use_as: str | None = None) -> Artifact:
        """Records that it used a version. Errors: InvalidField (a CommError and a ValueError) for a draft."""
        version = _logged("use_artifact", artifact)
        version_calls.use(self._workspace.connection, self._record.id, version.id, use_as or "")
        return version

    def lineage(self, depth: int = 2, direction: str = "both") -> Lineage:
        """Versions and runs around it: `direction` is upstream, downstream or both; `depth` 1 to 32 steps."""
        return lineage_calls.around(
            self._workspace.connection, run_id=self._record.id, depth=depth, direction=direction
        )

    def _versions(self, direction: str) -> Listing[Artifact]:
        found = lineage_calls.versions_of_run(self._workspace.connection, self._record.id, direction)
        artifacts = [self._workspace.artifact(version) for version in found]
        return Listing(artifacts, lambda: len(artifacts))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicRun) and self._record.id == other._record.id

    def __hash__(self) -> int:
        return hash(self._record.id)

    def __repr__(self) -> str:
        return f"<Run {self._record.path} ({self.state})>"

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Shows it: in a notebook below the cell, elsewhere a line on stderr. Whether in a notebook."""
        notebook.say([f"Run {self.name}: {self.url}"], self._repr_html_())
        return notebook.is_active()

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """As notebooks show it."""
        return self._repr_html_()

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        return run_card(
            f"Run {self.name}", self._record.path, self.state, self.config, self.summary, self.url
        )


def _logged(call: str, artifact: Artifact) -> Artifact:
    """The artifact, if it is logged. InvalidField for a draft, TypeError for what is no artifact."""
    if artifact.is_draft():
        raise errors.InvalidField.of(
            "artifact", f"is a draft: {call} of a run that Api found takes a version"
        )
    return artifact
