"""`PublicRun`: a run as the server has it."""

from __future__ import annotations

import copy
import datetime
import importlib.util
from collections.abc import Iterator
from typing import Any

from modelyard.arguments import checked_calls, require
from modelyard.artifacts.artifact import Artifact, Workspace
from modelyard.contract.values import identical
from modelyard.query import lineage_calls
from modelyard.query.lineage import Lineage
from modelyard.query.listing import Listing
from modelyard.rpc import metric_scan, retry, run_calls
from modelyard.rpc.records import REMOVED, RunRecord
from modelyard.runs.report import run_card


@checked_calls()
class PublicRun:
    """A run as the server has it. Name, notes, tags, config and summary may be changed, then `update()`."""

    def __init__(self, workspace: Workspace, record: RunRecord) -> None:
        self._workspace = workspace
        self._set_record(record)

    def _set_record(self, record: RunRecord) -> None:
        self._record = record
        self.name = record.display_name
        """Name shown to people."""
        self.notes = record.notes
        """Free text."""
        self.tags = list(record.tags)
        """Tags."""
        self.config = copy.deepcopy(record.config)
        """Its inputs."""
        self.summary = copy.deepcopy(record.summary)
        """Its results."""

    id = property(lambda self: self._record.run_id, doc="Short id, unique in the project.")
    entity = property(lambda self: self._record.entity, doc="Who owns it.")
    project = property(lambda self: self._record.project, doc="Its project.")
    state = property(lambda self: self._record.state, doc="running, finished, failed, crashed or killed.")
    group = property(lambda self: self._record.group, doc="Name of the group of runs it belongs to.")
    job_type = property(lambda self: self._record.job_type, doc="Its role in the group.")
    user = property(lambda self: self._record.created_by, doc="Who made it.")
    metadata = property(lambda self: dict(self._record.metadata), doc="Where it ran.")
    path = property(lambda self: self._record.path.split("/"), doc="`[entity, project, run_id]`.")
    url = property(lambda self: f"modelyard show {self._record.path}", doc="The command that shows it.")
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

    def update(self) -> None:
        """Sends the changes made here; changes by others stay. Errors: NotFound, ValueError."""
        for field, kind in (("name", "str"), ("notes", "str"), ("tags", "Sequence[str]")):
            require("update", field, kind, getattr(self, field))
        fields = {"display_name": self.name, "notes": self.notes, "tags": tuple(self.tags)}
        changed: dict[str, Any] = {
            field: now for field, now in fields.items() if now != getattr(self._record, field)
        }
        for field, entries in (("config", self.config), ("summary", self.summary)):
            stored = getattr(self._record, field)
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

        self._set_record(retry.on_latest(send, before, lambda: run_calls.run_by_id(connection, before.id)))

    def history(
        self,
        samples: int = 500,
        keys: list[str] | None = None,
        x_axis: str = "_step",
        pandas: bool = True,
    ) -> Any:
        """At most `samples` of its rows, evenly spaced, ordered by `x_axis`.

        A DataFrame where pandas is installed, else (or with `pandas=False`) a list of dicts.
        """
        rows = sorted(
            (row for row in self.scan_history(keys) if x_axis in row), key=lambda row: float(row[x_axis])
        )
        if len(rows) > samples:
            last = max(1, samples - 1)
            rows = [rows[index * (len(rows) - 1) // last] for index in range(samples)]
        if pandas and importlib.util.find_spec("pandas"):
            return importlib.import_module("pandas").DataFrame(rows)
        return rows

    def scan_history(
        self,
        keys: list[str] | None = None,
        page_size: int = 1000,
        min_step: int = 0,
        max_step: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Its rows, with `_step`, `_timestamp` and `_runtime`; with `keys` only those with any of them."""
        started = self._record.create_time.timestamp()
        return metric_scan.rows(
            self._workspace.connection, self._record.id, started, keys or (), min_step, max_step
        )

    def logged_artifacts(self, per_page: int = 100) -> Listing[Artifact]:
        """The versions it made, without deleted ones, ordered by ref."""
        return self._versions("downstream")

    def used_artifacts(self, per_page: int = 100) -> Listing[Artifact]:
        """The versions it used, without deleted ones, ordered by ref."""
        return self._versions("upstream")

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

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        return run_card(
            f"Run {self.name}", self._record.path, self.state, self.config, self.summary, self.url
        )
