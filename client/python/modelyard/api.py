"""`Api`: reads what was logged, without a run."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from modelyard import errors, refs
from modelyard.artifact import Artifact
from modelyard.settings import current

if TYPE_CHECKING:
    from modelyard.connection import Connection
    from modelyard.records import RunRecord


class Api:
    """Finds versions and runs. `overrides` may name `entity`, `project` and `base_url`."""

    def __init__(
        self,
        overrides: Mapping[str, Any] | None = None,
        timeout: int | None = None,
        api_key: str | None = None,
    ) -> None:
        self.settings = current({**(overrides or {}), **({"api_key": api_key} if api_key else {})})

    @property
    def _connection(self) -> Connection:
        from modelyard.connection import connect

        return connect(self.settings)

    def artifact(self, name: str, type: str | None = None) -> Artifact:
        """A version: `[[entity/]project/]name[:alias|:vN]`. Errors: NotFound; ValueError for another type."""
        from modelyard import catalog

        connection = self._connection
        version, link = catalog.resolve(connection, self._qualified(name))
        if type is not None and version.type != type:
            raise ValueError(f"{name} is of type {version.type!r}, not {type!r}")
        return Artifact._of(connection, self.settings, version, link)

    def artifact_exists(self, name: str, type: str | None = None) -> bool:
        """Whether there is such a version."""
        try:
            found = self.artifact(name)
        except errors.NotFound:
            return False
        return type is None or found.type == type

    def run(self, path: str) -> PublicRun:
        """A run: `[[entity/]project/]run_id`. Errors: NotFound."""
        from modelyard import catalog

        parts = path.strip("/").split("/")
        if not 1 <= len(parts) <= 3 or not all(parts):
            raise ValueError(f"{path!r}: expected [[entity/]project/]run_id")
        entity, project, run_id = ["", "", *parts][-3:]
        connection = self._connection
        record = catalog.get_run(
            connection,
            entity or self.settings.entity or "",
            project or self.settings.project or refs.DEFAULT_PROJECT,
            run_id,
        )
        return PublicRun(connection, record)

    def runs(self, path: str | None = None) -> Iterator[PublicRun]:
        """The runs of `[entity/]project`, newest first."""
        from modelyard import catalog

        entity, project = ["", *(path or "").strip("/").split("/")][-2:]
        connection = self._connection
        entity, project = entity or self.settings.entity or "", project or self.settings.project or ""
        for record in catalog.runs(connection, entity, project):
            yield PublicRun(connection, record)

    def _qualified(self, name: str) -> str:
        ref = refs.parse(name)
        entity = ref.entity or self.settings.entity or ""
        project = ref.project or self.settings.project or refs.DEFAULT_PROJECT
        return str(refs.Ref(entity, project, ref.name, ref.alias))


class PublicRun:
    """A run as the server has it."""

    def __init__(self, connection: Connection, record: RunRecord) -> None:
        self._connection = connection
        self._record = record

    id = property(lambda self: self._record.run_id, doc="Short id, unique in the project.")
    name = property(lambda self: self._record.display_name, doc="Name shown to people.")
    entity = property(lambda self: self._record.entity, doc="Who owns it.")
    project = property(lambda self: self._record.project, doc="What it is about.")
    state = property(lambda self: self._record.state, doc="running, finished, failed, crashed or killed.")
    config = property(lambda self: dict(self._record.config), doc="Its inputs.")
    summary = property(lambda self: dict(self._record.summary), doc="Its results.")
    tags = property(lambda self: list(self._record.tags), doc="Labels.")
    notes = property(lambda self: self._record.notes, doc="Free text.")
    group = property(lambda self: self._record.group, doc="Name of the group of runs it belongs to.")
    job_type = property(lambda self: self._record.job_type, doc="What part of a group it is.")
    user = property(lambda self: self._record.created_by, doc="Who made it.")
    metadata = property(lambda self: dict(self._record.metadata), doc="Where it ran.")
    path = property(lambda self: self._record.path.split("/"), doc="`[entity, project, run_id]`.")
    url = property(lambda self: f"modelyard show {self._record.path}", doc="The command that shows it.")
    lastHistoryStep = property(lambda self: self._record.last_step, doc="The largest step; -1 without rows.")  # noqa: N815  # as users know it

    @property
    def created_at(self) -> str:
        """ISO 8601, UTC."""
        return self._record.create_time.isoformat()

    @property
    def heartbeat_at(self) -> str | None:
        """When it was last heard of: ISO 8601, UTC."""
        moment: datetime.datetime | None = self._record.heartbeat_time
        return moment.isoformat() if moment else None

    def scan_history(
        self,
        keys: list[str] | None = None,
        page_size: int = 1000,
        min_step: int = 0,
        max_step: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Its rows, with `_step`, `_timestamp` and `_runtime`; with `keys` only those that have one."""
        from modelyard.scan import rows

        started = self._record.create_time.timestamp()
        return rows(self._connection, self._record.id, started, keys or (), min_step, max_step or 0)

    def __repr__(self) -> str:
        return f"<Run {self._record.path} ({self.state})>"
