"""The part of `Run` that logs, uses and links versions."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from modelyard.arguments import checked_calls
from modelyard.artifacts.artifact import Artifact
from modelyard.artifacts.draft import content_at
from modelyard.configuration.settings import Settings
from modelyard.contract import errors
from modelyard.contract.refs import artifact_name
from modelyard.runs.code_files import code_files, is_python, is_set_aside

if TYPE_CHECKING:
    from modelyard.registry.lineage import Lineage
    from modelyard.rpc.records import RunRecord
    from modelyard.runs.tracking import Tracking

Aliases = Sequence[str] | str | None


@checked_calls()
class RunVersions:
    """What a run makes and takes; see `Run`."""

    _settings: Settings
    _record: RunRecord

    if TYPE_CHECKING:

        def _tracked(self, call: str) -> Tracking:
            """What ties the run to its server. UsageError once it is finished."""

    def log_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        aliases: Aliases = None,
        tags: Sequence[str] | str | None = None,
    ) -> Artifact:
        """Logs an artifact, or a file or folder as one, and returns it, committed.

        Equal content makes no new version. A given Artifact becomes the logged
        one. Errors: ValueError for bad names and for another type than the name has.
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
        """Logs a file or a folder as a model; returns when it is committed.

        Default name: `run-<run id>-<basename of path>`. The version gets the
        aliases given, and `latest`. Errors: ValueError, AssertionError where the
        name holds artifacts of a type without "model" in it.
        """
        self._tracked("log_model").artifacts.log_model(path, name, aliases)

    def use_model(self, name: str) -> str:
        """Downloads a model and returns its path, absolute: the file or folder, else the folder of all of it.

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
        link only. A path that `use_model` returned, unchanged, is not logged again.
        """
        return self._tracked("link_model").artifacts.link_model(path, registered_model_name, name, aliases)

    def link_artifact(self, artifact: Artifact, target_path: str, aliases: Aliases = None) -> Artifact:
        """Links a version (a draft is logged first) into `name`, `project/name` or `entity/project/name`."""
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

        The runs meet by `distributed_id` (default: the run's group) and the name.
        A path that two runs add holds what was added last. Returns when the files
        are safe; the artifact stays a draft. TypeError without either id.
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
        """Makes the version of what the runs added with `upsert_artifact`, and of the files given here.

        Call it once, when all of them have added theirs. TypeError without a
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

        Default name: `source-<project>-<folder>`. The functions get the path, and
        the root too when they take two; by default `.py` files, without hidden
        folders and those that modelyard and Python make.
        """
        tracking = self._tracked("log_code")
        files = code_files(root or ".", include_fn, exclude_fn)
        if not files:
            return None
        folder = os.path.basename(os.path.abspath(root or "."))
        draft = Artifact(name or artifact_name(f"source-{self._record.project}-{folder}"), "code")
        for file in files:
            draft.add_file(file.source, file.path)
        return tracking.artifacts.log(draft)

    def lineage(self, depth: int = 2, direction: str = "both") -> Lineage:
        """Versions and runs around it: `direction` is upstream, downstream or both; `depth` 1 to 32 steps."""
        from modelyard.registry import lineage

        connection = self._tracked("lineage").connection
        return lineage.around(connection, run_id=self._record.id, depth=depth, direction=direction)


def _as_draft(
    artifact_or_path: Artifact | str | os.PathLike[str], name: str | None, type: str | None, aliases: Aliases
) -> Artifact:
    if isinstance(artifact_or_path, Artifact):
        if not artifact_or_path.is_draft:
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
        draft._draft.add_references(references)
    draft.aliases.extend([aliases] if isinstance(aliases, str) else aliases or ())
    return draft
