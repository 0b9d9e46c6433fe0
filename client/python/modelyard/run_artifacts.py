"""What a run logs, uses and links: paths and names in, versions out."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard import catalog, records, refs, transfer
from modelyard.artifact import Artifact
from modelyard.changes import alias_list, target_ref
from modelyard.connection import Connection
from modelyard.draft import files_at, refuse_reference
from modelyard.history import History
from modelyard.settings import Settings

Aliases = Sequence[str] | str | None
_Fingerprint = tuple[tuple[str, int, int], ...]

NO_PATH_IN_NAME = (
    "Please provide only the name of the registered model. Do not append the entity or project name."
)


class RunArtifacts:
    """The versions of one run. Each call returns after the server has committed it."""

    def __init__(
        self, connection: Connection, settings: Settings, run: records.RunRecord, history: History
    ) -> None:
        self.logged = 0
        self.linked = 0
        self._connection = connection
        self._settings = settings
        self._run = run
        self._history = history
        self._used: dict[Path, tuple[records.Version, _Fingerprint]] = {}

    def log(
        self, artifact: Artifact, aliases: Aliases = None, tags: Sequence[str] | str | None = None
    ) -> Artifact:
        """Commits a draft: that very object becomes the logged one. A logged one takes aliases and tags."""
        labels = [refs.check_tag(tag) for tag in ([tags] if isinstance(tags, str) else tags or ())]
        if not artifact.is_draft:
            artifact.aliases += [alias for alias in alias_list(aliases) if alias not in artifact.aliases]
            artifact.tags += [tag for tag in labels if tag not in artifact.tags]
            artifact.save()
            return artifact
        names = dict.fromkeys([*alias_list(artifact.aliases), *alias_list(aliases)])
        draft = self._draft(artifact.name, artifact.type, list(names), [*artifact.tags, *labels], artifact)
        version = self._upload(draft, artifact._draft.files())
        artifact._become(self._connection, self._settings, version)
        return artifact

    def log_path(
        self,
        path: Any,
        name: str | None,
        kind: str | None,
        aliases: Aliases,
        tags: Sequence[str] | str | None,
    ) -> Artifact:
        """Commits a file or a folder as a version of `name`."""
        files = files_at(path)
        labels = [refs.check_tag(tag) for tag in ([tags] if isinstance(tags, str) else tags or ())]
        name = refs.check_artifact_name(name) if name else self._default_name(path)
        draft = self._draft(name, kind or "unspecified", alias_list(aliases), labels)
        return Artifact._of(self._connection, self._settings, self._upload(draft, files))

    def log_model(self, path: Any, name: str | None, aliases: Aliases) -> Artifact:
        """Commits a file or a folder as a model; an existing name keeps its type."""
        files = files_at(path)
        name = refs.check_artifact_name(name) if name else self._default_name(path)
        known = catalog.find_artifact(self._connection, self._qualified(name))
        kind = known.type if known else "model"
        assert "model" in kind, (
            f"{name!r} holds artifacts of type {kind!r}: log_model needs a type that contains 'model'"
        )
        version = self._upload(self._draft(name, kind, alias_list(aliases), []), files)
        return Artifact._of(self._connection, self._settings, version)

    def use(
        self, artifact_or_name: Artifact | str, kind: str | None, aliases: Aliases, use_as: str | None
    ) -> Artifact:
        """Records the use of a version, found by name or given."""
        if isinstance(artifact_or_name, Artifact):
            artifact = artifact_or_name
            if artifact.is_draft:
                self.log(artifact, aliases)
        else:
            artifact = self._resolve(artifact_or_name)
        if kind is not None and artifact.type != kind:
            raise ValueError(f"{artifact.name} is of type {artifact.type!r}, not {kind!r}")
        catalog.use(self._connection, self._run.id, artifact.id, use_as or artifact.use_as or "")
        return artifact

    def use_model(self, name: str) -> str:
        """Records the use of a model, downloads it and returns where it is."""
        artifact = self._resolve(name)
        assert "model" in artifact.type, (
            f"{artifact.name} is of type {artifact.type!r}: use_model needs a type that contains 'model'; "
            "use_artifact takes any"
        )
        catalog.use(self._connection, self._run.id, artifact.id)
        root = Path(artifact.download())
        tops = {path.split("/", 1)[0] for path in artifact.manifest.entries}
        place = root / tops.pop() if len(tops) == 1 else root
        version, _, _ = artifact._server("use_model")
        self._used[place] = (version, _fingerprint(place))
        return str(place)

    def link_model(self, path: Any, model: str, name: str | None, aliases: Aliases) -> Artifact:
        """Logs a path, unless it is an unchanged one that `use_model` returned, and links the version."""
        assert "/" not in model, NO_PATH_IN_NAME
        refs.check_model_name(model)
        names = alias_list(aliases)  # before anything is logged: a wrong alias leaves nothing behind
        artifact = (None if name else self._as_used(path)) or self.log_model(path, name, None)
        return self.link(artifact, model, names)

    def link(self, artifact: Artifact, target_path: str, aliases: Aliases) -> Artifact:
        """Links a version; a draft is logged first."""
        target = target_ref(target_path, self._run.entity)
        names = alias_list(aliases)
        if artifact.is_draft:
            self.log(artifact)
        link = catalog.link(self._connection, artifact.id, target, names)
        self.linked += 1
        if not artifact.is_link:
            fresh = link.source
            artifact._become(self._connection, self._settings, fresh)
        return Artifact._of(self._connection, self._settings, link.source, link)

    def _resolve(self, name: str) -> Artifact:
        if not isinstance(name, str):
            raise TypeError(f"a version is named by a str, not {type(name).__name__}")
        refuse_reference(name)
        version, link = catalog.resolve(self._connection, self._qualified(name))
        return Artifact._of(self._connection, self._settings, version, link)

    def _qualified(self, name: str) -> str:
        ref = refs.parse(name)
        return str(
            refs.Ref(ref.entity or self._run.entity, ref.project or self._run.project, ref.name, ref.alias)
        )

    def _default_name(self, path: Any) -> str:
        base = re.sub(r"[^A-Za-z0-9_.\-]", "-", Path(os.fspath(path)).expanduser().absolute().name)
        return f"run-{self._run.run_id}-{base}"[: refs.NAME_LIMIT]

    def _draft(
        self, name: str, kind: str, aliases: list[str], tags: list[str], artifact: Artifact | None = None
    ) -> transfer.VersionDraft:
        ttl = artifact.ttl if artifact else None
        return transfer.VersionDraft(
            entity=self._run.entity,
            project=self._run.project,
            name=name,
            type=kind,
            description=(artifact.description or "") if artifact else "",
            metadata=artifact._checked_metadata() if artifact else {},
            tags=tags,
            aliases=aliases,
            run_id=self._run.id,
            history_step=self._history.step,
            ttl_seconds=ttl.total_seconds() if ttl else None,
        )

    def _upload(self, draft: transfer.VersionDraft, files: list[transfer.LocalFile]) -> records.Version:
        message, _ = transfer.upload(self._connection, draft, files)
        self.logged += 1
        return records.version(message)

    def _as_used(self, path: Any) -> Artifact | None:
        """The version that lies at a path as `use_model` put it there, when nobody changed it."""
        if not isinstance(path, str | os.PathLike):
            return None
        place = Path(os.fspath(path)).expanduser().absolute()
        version, fingerprint = self._used.get(place, (None, ()))
        if version is None or _fingerprint(place) != fingerprint:
            return None
        return Artifact._of(self._connection, self._settings, version)


def _fingerprint(place: Path) -> _Fingerprint:
    """Path, size and time of change of every file: equal when nobody wrote to them."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    stats = [(str(path), path.stat()) for path in sorted(files)]
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)
