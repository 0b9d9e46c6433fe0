"""What a logged artifact can do: be read, downloaded, checked, changed, linked and deleted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from modelyard.arguments import checked_calls
from modelyard.artifacts.entries import ArtifactEntry
from modelyard.artifacts.facts import ArtifactFacts
from modelyard.contract import errors
from modelyard.rpc import records

if TYPE_CHECKING:
    from modelyard.artifacts.artifact import Artifact
    from modelyard.artifacts.draft import DraftEntry
    from modelyard.configuration.settings import Settings
    from modelyard.registry.collection import ArtifactCollection
    from modelyard.registry.lineage import Lineage
    from modelyard.rpc.connection import Connection
    from modelyard.runs.public_run import PublicRun


@checked_calls()
class LoggedArtifact(ArtifactFacts):
    """The part of `Artifact` that speaks with the server; see there."""

    _connection: Connection | None
    _settings: Settings | None
    _entries: dict[str, ArtifactEntry] | None

    def _server(self, member: str) -> tuple[records.Version, Connection, Settings]:
        return self._logged(member), *self._remote(member)

    def _remote(self, member: str) -> tuple[Connection, Settings]:
        """Where it was logged, also of a link whose source is not visible."""
        self._holder_for(member)
        if self._connection is None or self._settings is None:
            raise errors.ArtifactNotLoggedError(f"{member} needs a server")
        return self._connection, self._settings

    # Reading.

    @property
    def manifest(self) -> SimpleNamespace:
        """`manifest.entries` maps path → entry."""
        return SimpleNamespace(entries=self._manifest_entries())

    def _manifest_entries(self) -> Mapping[str, ArtifactEntry | DraftEntry]:
        if self.is_draft:
            return self._draft.everything
        return self._logged_entries("manifest")

    def _logged_entries(self, member: str) -> Mapping[str, ArtifactEntry]:
        if self._entries is None:
            from modelyard.artifacts import cached_use
            from modelyard.transfer import transfer

            version, connection, settings = self._server(member)
            found = transfer.entries(connection, version, cache=cached_use.cache_of(settings))
            self._entries = {entry.path: ArtifactEntry(self, entry) for entry in found}
        return self._entries

    def get_entry(self, name: str | os.PathLike[str]) -> ArtifactEntry | DraftEntry:
        """The entry of a path. KeyError when there is none."""
        entries = self._manifest_entries()
        path = os.fspath(name)
        if path not in entries:
            raise KeyError(f"Path not contained in artifact: {path}")
        return entries[path]

    def get_path(self, name: str | os.PathLike[str]) -> ArtifactEntry:
        """The entry of a path, of a logged version. KeyError when there is none."""
        self._logged("get_path")
        found = self.get_entry(name)
        assert isinstance(found, ArtifactEntry)
        return found

    def files(self, names: Sequence[str] | str | None = None, per_page: int = 50) -> list[ArtifactEntry]:
        """Its entries, by path; only those of `names` when given."""
        self._logged("files")
        entries = self._logged_entries("files")
        wanted = entries.keys() if names is None else {names} if isinstance(names, str) else set(names)
        return [entry for path, entry in entries.items() if path in wanted]

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: str | os.PathLike[str] | None = None,
    ) -> str:
        """Downloads its files into `root` and returns it, absolute.

        Default: `<MODELYARD_ARTIFACT_DIR or ./artifacts>/<source name:vN>`. What
        is there already, or in the local cache, costs no transfer; with
        `skip_cache` the cache is left alone. `path_prefix` limits it to the
        paths that start with it. References are fetched from where they point:
        ReferenceChanged where something else is there by now, ReferenceMissing where
        nothing is, unless `allow_missing_references`: then a warning.
        """
        return self._download(
            root,
            skip_cache=skip_cache,
            path_prefix=os.fspath(path_prefix) if path_prefix else "",
            allow_missing_references=allow_missing_references,
        )

    def _download(
        self,
        root: str | os.PathLike[str] | None,
        *,
        skip_cache: bool | None = None,
        path_prefix: str = "",
        only: str = "",
        allow_missing_references: bool = False,
    ) -> str:
        from modelyard.artifacts import cached_use
        from modelyard.transfer import transfer

        version, connection, settings = self._server("download")
        place = self._place(root)
        transfer.download(
            connection,
            version,
            place,
            path_prefix=path_prefix,
            only=only,
            cache=cached_use.cache_of(settings),
            skip_cache=bool(skip_cache),
            allow_missing_references=allow_missing_references,
        )
        cached_use.keep(settings, version, self._link)
        return str(place)

    def _place(self, root: str | os.PathLike[str] | None) -> Path:
        _, _, settings = self._server("download")
        return Path(root).expanduser().absolute() if root else settings.artifact_root / self.source_name

    def file(self, root: str | os.PathLike[str] | None = None) -> str:
        """Downloads the only file of a version and returns its path. ValueError when there are others."""
        paths = list(self._logged_entries("file"))
        if len(paths) != 1:
            raise ValueError(f"{self.name} has {len(paths)} files; use download()")
        return str(Path(self.download(root), paths[0]))

    def verify(self, root: str | os.PathLike[str] | None = None) -> None:
        """Checks that a downloaded folder holds the version's files, unchanged, and no others.

        Default `root`: where `download` puts them. References are not looked at.
        ValueError names the first file that is missing, differs or does not belong.
        """
        from modelyard.artifacts.verify import verify

        version, connection, _ = self._server("verify")
        verify(connection, version, self._place(root))

    def wait(self, timeout: float | None = None) -> Artifact:
        """Itself: a logged artifact is committed when the call that logged it returns."""
        self._holder_for("wait")
        return self._itself()

    def new_draft(self) -> Artifact:
        """A draft of the next version: it has this one's files, description and metadata.

        Files may be added, replaced (`overwrite=True`) and removed; what stays is
        not sent again. Log it as any other draft.
        """
        from modelyard.artifacts.artifact import Artifact

        version, _, _ = self._server("new_draft")
        draft = Artifact(version.name, version.type, version.description or None, version.metadata)
        draft._draft.rest_on(version.id, self._logged_entries("new_draft"))
        return draft

    # Where it belongs.

    @property
    def collection(self) -> ArtifactCollection:
        """The artifact, or through a link the registered model, that it is a version of."""
        from modelyard.registry.collection import open_collection

        connection, settings = self._remote("collection")
        return open_collection(connection, settings, self._holder)

    @property
    def source_collection(self) -> ArtifactCollection:
        """The artifact it is a version of, also through a link."""
        from modelyard.registry.collection import open_collection

        version, connection, settings = self._server("source_collection")
        return open_collection(connection, settings, version)

    @property
    def linked_artifacts(self) -> list[Artifact]:
        """The links to it, as they stand now."""
        from modelyard.artifacts.artifact import Artifact
        from modelyard.rpc import version_calls

        version, connection, settings = self._server("linked_artifacts")
        links = [
            version_calls.get_link(connection, ref) for ref in version_calls.linked_to(connection, version.id)
        ]
        return [Artifact._of(connection, settings, link.source, link) for link in links]

    def logged_by(self) -> PublicRun | None:
        """The run that made it first; None when it was logged without one, or the run was deleted."""
        from modelyard.rpc import version_calls
        from modelyard.runs.public_run import PublicRun

        version, connection, settings = self._server("logged_by")
        if not version.producer_run_id:
            return None
        try:
            return PublicRun(
                connection, settings, version_calls.run_by_id(connection, version.producer_run_id)
            )
        except errors.NotFound:
            return None

    def used_by(self) -> list[PublicRun]:
        """The runs that used it, those that were not deleted."""
        from modelyard.registry import lineage

        version, connection, settings = self._server("used_by")
        return lineage.users(connection, settings, version.id)

    def lineage(self, depth: int = 2, direction: str = "both") -> Lineage:
        """Runs and versions around it: `direction` is upstream, downstream or both; `depth` 1 to 32 steps."""
        from modelyard.registry import lineage

        version, connection, _ = self._server("lineage")
        return lineage.around(connection, version_id=version.id, depth=depth, direction=direction)

    # Changing what may change.

    def save(self) -> None:
        """Sends what was changed of description, metadata, tags, aliases and ttl; logs a draft.

        Aliases move in one step, all or none; what others changed meanwhile stays.
        """
        if self.is_draft:
            from modelyard.runs import session

            session.require_run("Artifact.save").log_artifact(self._itself())
            return
        from modelyard.artifacts import edits

        edits.save(self._itself())

    def link(self, target_path: str, aliases: Sequence[str] | str | None = None) -> Artifact:
        """Links it into a registered model and returns the link; a draft is logged first.

        `target_path` is `name`, `project/name` or `entity/project/name`; a bare
        name means `model-registry`. `aliases` go to the link only.
        """
        from modelyard.artifacts import edits

        if self.is_draft:
            edits.target_ref(target_path, "")  # a wrong target leaves nothing logged behind
            self.save()
            return self.link(target_path, aliases)  # as the class has it that it has become
        return edits.link(self._itself(), target_path, aliases)

    def unlink(self) -> None:
        """Removes the link that it is; the source stays. ValueError on a source."""
        from modelyard.rpc import version_calls

        connection, _ = self._remote("unlink")
        if self._link is None:
            raise ValueError(f"{self.name} is not a link: only links can be unlinked")
        version_calls.unlink(connection, self._link.id)

    def delete(self, delete_aliases: bool = False) -> None:
        """Deletes the version, or of a link the link alone.

        CommError when a version has aliases or links, unless `delete_aliases`:
        then they go too.
        """
        from dataclasses import replace

        from modelyard.rpc import version_calls

        if self._link is not None:
            self.unlink()
            return
        version, connection, _ = self._server("delete")
        version_calls.delete_version(connection, version.id, delete_aliases)
        self._version = replace(version, deleted=True)

    def _itself(self) -> Artifact:
        from modelyard.artifacts.artifact import Artifact

        assert isinstance(self, Artifact)
        return self
