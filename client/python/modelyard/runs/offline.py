"""`mode="offline"`: runs that keep everything in their folder, for `modelyard sync`.

Nothing is sent and no server is started. What needs an answer of the server raises
RuntimeError, or what W&B raises there, unless it is in the local cache.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from modelyard.artifacts import cached_use
from modelyard.artifacts.artifact import Artifact, Workspace
from modelyard.artifacts.draft import content_at
from modelyard.contract import refs
from modelyard.host import terminal
from modelyard.host.local_files import LocalFile
from modelyard.query.lineage import Lineage
from modelyard.rpc import records
from modelyard.runs.artifacts import NO_PATH_IN_NAME, Aliases, RunArtifacts, require
from modelyard.runs.history import History
from modelyard.runs.report import closing_lines
from modelyard.runs.tracking import Recording
from modelyard.spool import records as spool_records
from modelyard.spool.folders import RunFolder
from modelyard.spool.staging import Stage
from modelyard.sync import artifact_calls
from modelyard.sync.destination import RunStatus
from modelyard.transfer import transfer


class OfflineTracking(Recording):
    """The spool and the staged artifacts of a run without a server. `info` is the content of `run.json`."""

    artifacts: OfflineArtifacts

    def __init__(
        self,
        workspace: Workspace,
        folder: RunFolder,
        info: Mapping[str, Any] | None = None,
        *,
        attached: bool = False,
    ) -> None:
        super().__init__(workspace, folder, attached=attached)
        self._info = info or {}

    def start(self, record: records.RunRecord, history: History, start_time: float) -> None:
        """Makes the folder say which run it holds."""
        self._record = record
        self._history = history
        self.artifacts = OfflineArtifacts(self._workspace, record, history, self)
        if self._attached:
            return
        self.folder.keep_info({**self._info, "started": start_time})
        self.spool.change(
            spool_records.FIELDS, {"set": {}, "removed": []}
        )  # so that a run without rows has a spool

    @property
    def url(self) -> None:
        """None: no server has the run."""

    project_url = url

    def flush(self) -> None:
        """Does nothing: everything is in the folder already."""

    def status(self) -> RunStatus:
        """How many rows of this process are kept; none is sent."""
        return RunStatus(self.spool.rows, self.spool.rows)

    def restore(self, run_path: str, name: str, root: str, *, replace: bool) -> NoReturn:
        """RuntimeError: the server has the file."""
        raise RuntimeError("run.restore() needs a server, and the run is offline")

    def lineage(self, depth: int, direction: str) -> Lineage:
        """RuntimeError: the server knows it."""
        raise RuntimeError("run.lineage() needs a server, and the run is offline")

    def finish(
        self, name: str, summary: Mapping[str, Any], exit_code: int, *, quiet: bool, killed: bool = False
    ) -> None:
        """Records the end of the run, and says how to send it. Of another process's run it ends nothing."""
        if self._attached:
            self._close_spools()
            return
        self._record_end(exit_code, killed=killed)
        rows = self.spool.rows
        self._close_spools()
        self._report_dropped(0)
        if not quiet:
            counts = [
                (rows, "metric row"),
                (self.artifacts.versions.logged, "artifact version"),
                (self.artifacts.versions.linked, "link"),
            ]
            for line in closing_lines(name, None, {}, summary, counts, exit_code):
                terminal.termlog(line)
            terminal.termlog(f"This sends it: modelyard sync {self.folder.path}")


class OfflineArtifacts(RunArtifacts):
    """Copies what is logged into the run's folder, and records the calls about it.

    A logged artifact stays a draft here: it has no version before it is sent.
    """

    def __init__(
        self, workspace: Workspace, run: records.RunRecord, history: History, tracking: Recording
    ) -> None:
        super().__init__(workspace, run, history)
        self._tracking = tracking

    def log(
        self, artifact: Artifact, aliases: Aliases = None, tags: Sequence[str] | str | None = None
    ) -> Artifact:
        """Records a draft."""
        self._log_draft(artifact, aliases, tags)
        return artifact

    def log_path(
        self,
        path: Any,
        name: str | None,
        type_name: str | None,
        aliases: Aliases,
        tags: Sequence[str] | str | None,
    ) -> Artifact:
        """Records a file or a folder as a version of `name`."""
        header, files, references = self._content(path, name, type_name or "unspecified", aliases, tags)
        self._record_log(header, files, references)
        return Artifact(header.name, header.type)

    def log_model(self, path: Any, name: str | None, aliases: Aliases) -> Artifact:
        """Records a file or a folder as a model."""
        self._log_model(path, name, aliases)
        return Artifact(name or self._default_name(path), "model")

    def link_model(self, path: Any, model: str, name: str | None, aliases: Aliases) -> None:
        """Records a path as a model, and its link. There is no version to return yet."""
        require("/" not in model, NO_PATH_IN_NAME)
        refs.check_model_name(model)
        names = refs.alias_list(aliases)
        used = None if name else self._as_used(path)
        logged = "" if used else self._log_model(path, name, None)
        version_id = used.id if used else ""
        self._record(
            artifact_calls.link_call(uuid.uuid4().hex, model, names, logged=logged, version_id=version_id)
        )
        self.versions.count_link()

    def use(
        self, artifact_or_name: Artifact | str, type_name: str | None, aliases: Aliases, use_as: str | None
    ) -> Artifact:
        """A version of the local cache, named `name:vN`; its use is recorded. Else TypeError."""
        if isinstance(artifact_or_name, Artifact):
            if artifact_or_name.is_draft():
                raise TypeError("use_artifact of an artifact that was not sent yet needs a server")
            artifact = artifact_or_name
        else:
            kept = self._cached(artifact_or_name)
            if kept is None:
                raise TypeError(self._not_cached("use_artifact", artifact_or_name))
            artifact = self._workspace.artifact(kept)
        if type_name is not None and artifact.type != type_name:
            raise ValueError(f"{artifact.name} is of type {artifact.type!r}, not {type_name!r}")
        artifact.use_as = use_as or artifact.use_as
        self._record_use(artifact.name, artifact.id, artifact.use_as or "")
        return artifact

    def use_model(self, name: str) -> str:
        """The path of a model of the local cache, named `name:vN`; its use is recorded. Else RuntimeError."""
        kept = self._cached(name)
        if kept is None:
            raise RuntimeError(self._not_cached("use_model", name))
        path = self._download_cached(kept)
        self._record_use(kept.ref, kept.id, "")
        return path

    def link(self, artifact: Artifact, target_path: str, aliases: Aliases) -> NoReturn:
        """NotImplementedError, as W&B raises."""
        raise NotImplementedError(
            "link_artifact needs a server, and the run is offline; link_model records the link"
        )

    def upsert(self, draft: Artifact, distributed_id: str | None) -> NoReturn:
        """RuntimeError: the server gathers the parts."""
        raise RuntimeError("upsert_artifact needs a server, and the run is offline")

    def finish(self, draft: Artifact, distributed_id: str | None) -> NoReturn:
        """RuntimeError: the server gathers the parts."""
        raise RuntimeError("finish_artifact needs a server, and the run is offline")

    def _log_draft(self, artifact: Artifact, aliases: Aliases, tags: Sequence[str] | str | None) -> None:
        if not artifact.is_draft():
            raise RuntimeError(
                f"{artifact.name} is logged: changing it needs a server, and the run is offline"
            )
        draft = artifact._draft("log_artifact")
        artifact.tags.extend([tags] if isinstance(tags, str) else tags or ())
        names = list(dict.fromkeys([*refs.alias_list(artifact.aliases), *refs.alias_list(aliases)]))
        header = self._header(artifact.name, artifact.type, names, list(artifact.tags), artifact)
        header = replace(header, base_version_id=draft.base_version_id, removed_paths=sorted(draft.removed))
        self._record_log(header, draft.files(), draft.references(), incremental=artifact.incremental)

    def _log_model(self, path: Any, name: str | None, aliases: Aliases) -> str:
        """The id of the record."""
        header, files, references = self._content(path, name, "model", aliases, None)
        return self._record_log(header, files, references, is_model=True)

    def _content(
        self, path: Any, name: str | None, type_name: str, aliases: Aliases, tags: Sequence[str] | str | None
    ) -> tuple[transfer.NewVersion, list[LocalFile], list[records.FileEntry]]:
        files, references = content_at(path)
        tag_list = [refs.check_tag(tag) for tag in ([tags] if isinstance(tags, str) else tags or ())]
        name = refs.check_artifact_name(name) if name else self._default_name(path)
        return self._header(name, type_name, refs.alias_list(aliases), tag_list), files, references

    def _record_log(
        self,
        header: transfer.NewVersion,
        files: Sequence[LocalFile],
        references: Sequence[records.FileEntry],
        *,
        incremental: bool = False,
        is_model: bool = False,
    ) -> str:
        """Copies the files and records the call; returns its id. Errors: those of `Stage.copy`."""
        request_id = uuid.uuid4().hex
        Stage(self._tracking.folder.stages / request_id).copy(
            files, artifact_calls.staged_references(references)
        )
        self._record(artifact_calls.log_call(request_id, header, incremental=incremental, is_model=is_model))
        self.versions.logged += 1
        return request_id

    def _record_use(self, what: str, version_id: str, use_as: str) -> None:
        self._record(
            {
                "call": artifact_calls.USE,
                "what": what,
                "request_id": uuid.uuid4().hex,
                "version_id": version_id,
                "use_as": use_as,
            }
        )

    def _record(self, call: Mapping[str, Any]) -> None:
        self._tracking.spool.change(spool_records.ARTIFACT, call)

    def _cached(self, name: str) -> records.Version | None:
        return cached_use.find(self._workspace.settings, self._resolver.full(name))

    def _not_cached(self, call: str, name: str) -> str:
        return (
            f"{call}({name!r}): the run is offline, and no version of this name and number is in the local "
            "cache; a full entity/project/name:vN that was downloaded before is"
        )
