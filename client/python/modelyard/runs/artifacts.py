"""The artifacts of a run: logs, uses and links versions."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.artifacts import cached_use, verify
from modelyard.artifacts.artifact import Artifact, Workspace
from modelyard.artifacts.draft import content_at
from modelyard.artifacts.fields import checked_metadata
from modelyard.artifacts.server_version import ServerVersion
from modelyard.contract import errors, refs
from modelyard.host import terminal
from modelyard.query.resolve import Resolver
from modelyard.rpc import messages, records, version_calls
from modelyard.runs import distributed
from modelyard.runs.history import History
from modelyard.runs.version_logging import Content, VersionLogger
from modelyard.sync.background_uploads import Upload
from modelyard.transfer import transfer

Aliases = Sequence[str] | str | None

NO_PATH_IN_NAME = (
    "Please provide only the name of the registered model. Do not append the entity or project name."
)


class _Used(NamedTuple):
    """A version that `use_model` downloaded below `root`, and when (ns since 1970)."""

    version: records.Version
    root: Path
    time_ns: int


class RunArtifacts:
    """Logs, uses and links for one run.

    Logging returns when the content is safe from the caller; see `version_logging`. All
    other calls return after the server has committed what they do.
    """

    def __init__(self, workspace: Workspace, run: records.RunRecord, history: History) -> None:
        self.versions = VersionLogger(workspace, run)
        self._workspace = workspace
        self._connection = workspace.connection
        self._resolver = Resolver(workspace.connection, run.entity, run.project)
        self._run = run
        self._history = history
        self._used: dict[Path, _Used] = {}

    def log(
        self, artifact: Artifact, aliases: Aliases = None, tags: Sequence[str] | str | None = None
    ) -> Artifact:
        """Logs a draft, which becomes the logged version; adds aliases and tags to a logged one."""
        return self._log(artifact, aliases, tags)

    def _log(
        self,
        artifact: Artifact,
        aliases: Aliases = None,
        tags: Sequence[str] | str | None = None,
        *,
        at_once: bool = False,
    ) -> Artifact:
        if not artifact.is_draft():
            artifact.aliases.extend(refs.alias_list(aliases))
            artifact.tags.extend([tags] if isinstance(tags, str) else tags or ())
            artifact.save()
            return artifact
        artifact.tags.extend([tags] if isinstance(tags, str) else tags or ())
        names = list(dict.fromkeys([*refs.alias_list(artifact.aliases), *refs.alias_list(aliases)]))
        draft = artifact._draft("log_artifact")
        header = self._header(artifact.name, artifact.type, names, list(artifact.tags), artifact)
        header = replace(header, base_version_id=draft.base_version_id, removed_paths=sorted(draft.removed))
        content = Content(header, draft.files(), draft.references(), incremental=artifact.incremental)
        return self._become(artifact, content, self.versions.log(content, at_once=at_once))

    def _become(self, artifact: Artifact, content: Content, made: records.Version | Upload) -> Artifact:
        """Makes an artifact the version that was logged, which may still be on its way."""
        if isinstance(made, Upload):
            artifact._become_pending(self._workspace, made, content.header.aliases)
        else:
            artifact._become(ServerVersion(self._workspace, made))
        return artifact

    def upsert(self, draft: Artifact, distributed_id: str | None) -> None:
        """Adds a draft's files to a version that several runs make together."""
        gathering = self._gathering_name(draft, distributed_id)
        distributed.gather(self._connection, self._project_path, gathering, partial(self._gather, draft))

    def finish(self, draft: Artifact, distributed_id: str | None) -> Artifact:
        """Commits the gathered files and the draft's as a version; the draft becomes it."""
        gathering = self._gathering_name(draft, distributed_id)
        names = refs.alias_list(draft.aliases)
        version = distributed.finish(
            self._connection,
            self._project_path,
            draft.name,
            gathering,
            lambda _, base: self._commit(draft, names, base),
        )
        draft._become(ServerVersion(self._workspace, version))
        return draft

    def log_path(
        self,
        path: Any,
        name: str | None,
        type_name: str | None,
        aliases: Aliases,
        tags: Sequence[str] | str | None,
    ) -> Artifact:
        """Logs a file or a folder as a version of `name`."""
        files, references = content_at(path)
        tag_list = [refs.check_tag(tag) for tag in ([tags] if isinstance(tags, str) else tags or ())]
        name = refs.check_artifact_name(name) if name else self._default_name(path)
        header = self._header(name, type_name or "unspecified", refs.alias_list(aliases), tag_list)
        artifact = Artifact(name, header.type)
        artifact.tags = tag_list
        content = Content(header, files, references)
        return self._become(artifact, content, self.versions.log(content))

    def log_model(self, path: Any, name: str | None, aliases: Aliases) -> Artifact:
        """Logs a file or a folder as a model; an existing name keeps its type."""
        content = self._model(path, name, aliases)
        artifact = Artifact(content.header.name, content.header.type)
        return self._become(artifact, content, self.versions.log(content))

    def _model(self, path: Any, name: str | None, aliases: Aliases) -> Content:
        files, references = content_at(path)
        name = refs.check_artifact_name(name) if name else self._default_name(path)
        header = self._header(name, "model", refs.alias_list(aliases), [])
        return Content(header, files, references, is_model=True)

    def use(
        self, artifact_or_name: Artifact | str, type_name: str | None, aliases: Aliases, use_as: str | None
    ) -> Artifact:
        """Records that the run uses a version, given as an artifact or a name."""
        if isinstance(artifact_or_name, Artifact):
            artifact = artifact_or_name
            if artifact.is_draft():
                self._log(artifact, at_once=True)
        else:
            artifact = self._workspace.artifact(*self._resolver.version(artifact_or_name))
        if type_name is not None and artifact.type != type_name:
            raise ValueError(f"{artifact.name} is of type {artifact.type!r}, not {type_name!r}")
        artifact.use_as = use_as or artifact.use_as
        version_calls.use(self._connection, self._run.id, artifact.id, artifact.use_as or "")
        if names := refs.alias_list(aliases):
            artifact.aliases.extend(names)
            artifact.save()
        return artifact

    def named(self, entry: str | Mapping[str, Any]) -> Artifact:
        """The version that an entry of a config names. Errors: NotFound, ValueError."""
        version_id, ref = refs.parse_artifact_uri(entry) if isinstance(entry, str) else (str(entry["id"]), "")
        if ref:
            return self._workspace.artifact(*self._resolver.version(ref))
        return self._workspace.artifact(version_calls.version_by_id(self._connection, version_id))

    def use_model(self, name: str) -> str:
        """Records that the run uses a model, downloads it and returns its path."""
        kept = cached_use.find_unreachable(self._workspace, self._resolver.full(name))
        version, link = (kept, None) if kept else self._resolver.version(name)
        require(
            "model" in version.type,
            f"{(link or version).ref} is of type {version.type!r}: use_model needs a type that contains "
            "'model'; use_artifact takes any",
        )
        if kept is not None:
            terminal.termwarn(
                f"the server cannot be reached: {kept.ref} comes from the local cache; no use is recorded"
            )
            return self._download_cached(kept)
        root = self._root_of(version)
        version_calls.use(self._connection, self._run.id, version.id)
        entries = transfer.download(self._connection, version, root, cache=self._workspace.cache)
        cached_use.keep(self._workspace.settings, version, link)
        return self._used_at(version, root, entries)

    def _download_cached(self, version: records.Version) -> str:
        """Copies a version's files from the cache; returns the path. RuntimeError when some are missing."""
        root = self._root_of(version)
        return self._used_at(version, root, cached_use.download(self._workspace.settings, version, root))

    def _root_of(self, version: records.Version) -> Path:
        return self._workspace.settings.artifact_root / f"{version.name}:v{version.number}"

    def _used_at(self, version: records.Version, root: Path, entries: Sequence[records.FileEntry]) -> str:
        """The path of a version that was downloaded to `root`: of its only file or folder, else the root."""
        tops = {entry.path.split("/", 1)[0] for entry in entries}
        path = root / tops.pop() if len(tops) == 1 else root
        self._used[path] = _Used(version, root, time.time_ns())
        return str(path)

    def link_model(self, path: Any, model: str, name: str | None, aliases: Aliases) -> Artifact | None:
        """Links the version of a path; logs it first unless `use_model` returned it and it is unchanged.

        While the server is away, both are recorded to be made later, and there is no link to return.
        """
        require("/" not in model, NO_PATH_IN_NAME)
        refs.check_model_name(model)
        names = refs.alias_list(aliases)  # checked first: with a wrong alias nothing is logged
        used = None if name else self._as_used(path)
        made = used.id if used else self.versions.log(self._model(path, name, None), at_once=True)
        if isinstance(made, Upload):
            self.versions.link_later(made, model, names)
            return None
        link = self.versions.link(made if isinstance(made, str) else made.id, model, names)
        return self._workspace.artifact(link) if link else None

    def link(self, artifact: Artifact, target_path: str, aliases: Aliases) -> Artifact:
        """Links a version; a draft is logged first. A bare target is in the run's project."""
        target = refs.link_target(target_path, self._run.entity, self._run.project)
        names = refs.alias_list(aliases)
        if artifact.is_draft():
            self._log(artifact, at_once=True)
        link = version_calls.link_named(self._connection, artifact.id, target_path, target, names)
        self.versions.count_link()
        if not artifact.is_link:
            artifact._become(ServerVersion(self._workspace, link.source))
        return self._workspace.artifact(link)

    def _default_name(self, path: Any) -> str:
        base = Path(os.fspath(path)).expanduser().absolute().name
        return refs.artifact_name(f"run-{self._run.run_id}-{base}")

    @property
    def _project_path(self) -> str:
        return f"{self._run.entity}/{self._run.project}"

    def _gathering_name(self, draft: Artifact, distributed_id: str | None) -> str:
        distributed_id = distributed_id or draft.distributed_id or self._run.group
        if not distributed_id:
            raise TypeError("several runs make one version only in a group, or with a distributed_id")
        if draft.incremental or draft._draft("upsert_artifact").base_version_id:
            raise errors.UsageError("a version that several runs make cannot be based on another one")
        return distributed.gathering_name(draft.name, distributed_id)

    def _commit(self, artifact: Artifact, aliases: list[str], base: str) -> records.Version:
        header = self._header(artifact.name, artifact.type, aliases, list(artifact.tags), artifact)
        content = artifact._draft("log_artifact")
        based = replace(header, base_version_id=base, removed_paths=sorted(content.removed))
        made = transfer.upload(
            self._connection,
            based,
            content.files(),
            references=content.references(),
            cache=self._workspace.cache,
        )
        return self.versions.counted(*made)

    def _gather(self, artifact: Artifact, gathering: str, base: str) -> records.Version:
        # Without the run: its output is the finished version, not the intermediate ones.
        header = replace(self._header(gathering, artifact.type, [], []), run_id="", base_version_id=base)
        content = artifact._draft("log_artifact")
        message, _ = transfer.upload(
            self._connection,
            header,
            content.files(),
            references=content.references(),
            cache=self._workspace.cache,
        )
        return messages.version(message)

    def _header(
        self, name: str, type_name: str, aliases: list[str], tags: list[str], artifact: Artifact | None = None
    ) -> transfer.NewVersion:
        ttl = artifact.ttl if artifact else None
        return transfer.NewVersion(
            entity=self._run.entity,
            project=self._run.project,
            name=name,
            type=type_name,
            description=(artifact.description or "") if artifact else "",
            metadata=checked_metadata(artifact.metadata) if artifact else {},
            tags=tags,
            aliases=aliases,
            run_id=self._run.id,
            history_step=self._history.step - 1 if self._history.step else None,
            ttl_seconds=ttl.total_seconds() if ttl else None,
        )

    def _as_used(self, path: Any) -> Artifact | None:
        """The version that `use_model` downloaded to a path, if the files there are still its own."""
        if not isinstance(path, str | os.PathLike):
            return None
        local = Path(os.fspath(path)).expanduser().absolute()
        used = self._used.get(local)
        if used is None:
            return None
        cache = self._workspace.cache
        entries = transfer.entries(self._connection, used.version, cache=cache)
        index = cache.folder_index(used.root)
        if not verify.is_unchanged(entries, used.root, local, used.time_ns, index):
            return None
        return self._workspace.artifact(used.version)


def require(holds: bool, sentence: str) -> None:
    """Raises AssertionError as W&B does; `python -O` would skip an `assert` statement."""
    if not holds:
        raise AssertionError(sentence)
