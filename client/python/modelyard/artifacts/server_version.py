"""A logged version on a server: reads, downloads, checks, changes, links and deletes it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelyard.artifacts import cached_use, verify
from modelyard.artifacts.entries import ArtifactEntry
from modelyard.artifacts.fields import VersionFields, checked_metadata
from modelyard.artifacts.handles import CollectionHandle, RunHandle, Workspace
from modelyard.artifacts.logged import LoggedVersion
from modelyard.configuration.settings import Settings, with_defaults
from modelyard.contract import errors, refs
from modelyard.contract.values import identical
from modelyard.query import comparison_calls, lineage_calls, page_addresses
from modelyard.query.comparison import Comparison
from modelyard.query.lineage import Lineage
from modelyard.rpc import collection_calls, manifest, records, retry, run_calls, version_calls
from modelyard.transfer import target_folder, transfer


class ServerVersion(LoggedVersion):
    """A version, or a link, that a server has."""

    def __init__(
        self, workspace: Workspace, version: records.Version | None, link: records.Link | None = None
    ) -> None:
        super().__init__(version, link)
        self._workspace = workspace
        self._entries: dict[str, ArtifactEntry] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_entries": None}  # many, and cached on disk

    @property
    def url(self) -> str:
        """Where the page shows the link, else the version."""
        return page_addresses.of_version(self._workspace.connection, self.holder)

    def entries(self, member: str) -> Mapping[str, ArtifactEntry]:
        """Its files and references by path, fetched once."""
        if self._entries is None:
            connection, cache = self._workspace.connection, self._workspace.cache
            found = transfer.entries(connection, self.source(member), cache=cache)
            self._entries = {entry.path: ArtifactEntry(self, entry) for entry in found}
        return self._entries

    def download(
        self,
        root: str | os.PathLike[str] | None,
        *,
        skip_cache: bool | None = None,
        path_prefix: str = "",
        only: str = "",
        allow_missing_references: bool = False,
    ) -> str:
        """Downloads into `root` and returns it, absolute."""
        version, folder = self.source("download"), self._folder(root)
        transfer.download(
            self._workspace.connection,
            version,
            folder,
            path_prefix=path_prefix,
            only=only,
            cache=self._workspace.cache,
            skip_cache=bool(skip_cache),
            allow_missing_references=allow_missing_references,
        )
        cached_use.keep(self._workspace.settings, version, self.link)
        return str(folder)

    def checkout(self, root: str | os.PathLike[str] | None) -> str:
        """Removes what the version does not have from the folder, and downloads into it."""
        version = self.source("checkout")
        folder = self._folder(root) if root else self._workspace.settings.artifact_root / version.name
        target_folder.remove_others(folder, self.entries("checkout"))
        return self.download(folder)

    def sha256sums(self) -> dict[str, str]:
        """The plain SHA-256 of each file by path."""
        return manifest.sha256sums(self._workspace.connection, self.source("sha256sums").id)

    def verify(self, root: str | os.PathLike[str] | None) -> None:
        """Compares a folder with the version's manifest. ValueError names the first difference."""
        verify.verify(self._workspace.connection, self.source("verify"), self._folder(root))

    def _folder(self, root: str | os.PathLike[str] | None) -> Path:
        if root:
            return Path(root).expanduser().absolute()
        version = self.source("download")
        return self._workspace.settings.artifact_root / f"{version.name}:v{version.number}"

    def collection(self) -> CollectionHandle:
        """The registered model of the link, else the artifact of the version."""
        return self._workspace.collection(collection_calls.of(self._workspace.connection, self.holder))

    def without_link(self) -> LoggedVersion:
        """The version itself."""
        return ServerVersion(self._workspace, self.source("source_artifact"))

    def source_collection(self) -> CollectionHandle:
        """The artifact of the version itself."""
        version = self.source("source_collection")
        return self._workspace.collection(collection_calls.of(self._workspace.connection, version))

    def links(self) -> Sequence[LoggedVersion]:
        """The links to the version, as they are now."""
        connection = self._workspace.connection
        refs_of_links = version_calls.linked_to(connection, self.source("linked_artifacts").id)
        return [self._through(version_calls.link_by_ref(connection, ref)) for ref in refs_of_links]

    def logged_by(self) -> RunHandle | None:
        """The run that made it first; None without one, or when that run is deleted."""
        version = self.source("logged_by")
        if not version.producer_run_id:
            return None
        try:
            record = run_calls.run_by_id(self._workspace.connection, version.producer_run_id)
        except errors.NotFound:
            return None
        return self._workspace.run(record)

    def used_by(self) -> Sequence[RunHandle]:
        """The runs that used it and are not deleted."""
        found = lineage_calls.runs_using(self._workspace.connection, self.source("used_by").id)
        return [self._workspace.run(record) for record in found]

    def lineage(self, depth: int, direction: str) -> Lineage:
        """The runs and versions around it, up to `depth` steps."""
        version = self.source("lineage")
        return lineage_calls.around(
            self._workspace.connection, version_id=version.id, depth=depth, direction=direction
        )

    def compare(self, base: LoggedVersion | str, path_prefix: str) -> Comparison:
        """What differs from another version, which a reference may name."""
        connection, holder = self._workspace.connection, self.holder
        if isinstance(base, str):
            ref = refs.parse(base).within(holder.entity, holder.project)
            other, _ = version_calls.resolve(connection, str(ref))
        else:
            other = base.source("compare")
        return comparison_calls.compare(connection, self.source("compare"), other, path_prefix)

    def save(self, fields: VersionFields) -> LoggedVersion:
        """Sends what was changed since the version was read.

        Of metadata, tags and aliases it sends the keys and names that were changed:
        what others changed meanwhile in other ones stays.
        """
        connection = self._workspace.connection
        # Of a link whose source is not visible, the aliases alone can be changed.
        if self.version is not None or fields.description or fields.metadata or fields.tags:
            base = self.source("description, metadata and tags")

            def send(stored: records.Version) -> None:
                if changed := _changed(fields, base, stored):
                    version_calls.update_version(connection, stored, changed)

            retry.on_latest(send, base, lambda: version_calls.version_by_id(connection, base.id))
        self._move_aliases(fields)
        if self.link is not None:
            return self._through(version_calls.link_by_ref(connection, self.link.ref))
        return ServerVersion(self._workspace, version_calls.version_by_id(connection, self.source("save").id))

    def _move_aliases(self, fields: VersionFields) -> None:
        """Sends the aliases that were added and removed, in one step.

        An alias is removed only if it still points here: one that somebody moved
        meanwhile stays where they moved it.
        """
        here = f"v{self.holder.number}"
        moves = dict.fromkeys(fields.aliases.added, here)
        removed = fields.aliases.removed
        while moves or removed:
            removals = dict.fromkeys(removed, "")
            try:
                version_calls.move_aliases(
                    self._workspace.connection,
                    collection_ref(self.holder),
                    moves | removals,
                    expected=dict.fromkeys(removals, here),
                )
            except errors.AliasChanged:
                still_here = self._aliases_now()
                removed = [alias for alias in removed if alias in still_here]
            else:
                return

    def _aliases_now(self) -> tuple[str, ...]:
        connection = self._workspace.connection
        if self.link is not None:
            return version_calls.link_by_ref(connection, self.link.ref).aliases
        return version_calls.version_by_id(connection, self.source("aliases").id).aliases

    def link_to(self, target_path: str, aliases: Sequence[str] | str | None) -> LoggedVersion:
        """Links the version into a registered model; returns the link."""
        version = self.source("link")
        project = with_defaults(Settings()).project or refs.DEFAULT_PROJECT
        target = refs.link_target(target_path, version.entity, project)
        connection, names = self._workspace.connection, refs.alias_list(aliases)
        return self._through(version_calls.link_named(connection, version.id, target_path, target, names))

    def unlink(self) -> None:
        """Removes the link. ValueError on a source version."""
        if self.link is None:
            raise ValueError(
                f"{self.name} is not a link: only links can be unlinked; delete() removes a version"
            )
        version_calls.unlink(self._workspace.connection, self.link.id)

    def delete(self, delete_aliases: bool) -> LoggedVersion:
        """Deletes the version, or the link alone."""
        if self.link is not None:
            self.unlink()
            return self
        version = self.source("delete")
        version_calls.delete_version(self._workspace.connection, version.id, delete_aliases)
        return ServerVersion(self._workspace, replace(version, deleted=True))

    def _through(self, link: records.Link) -> ServerVersion:
        return ServerVersion(self._workspace, link.source, link)


def collection_ref(holder: records.Version | records.Link) -> str:
    """`entity/project/name` of what a version or a link belongs to."""
    return f"{holder.entity}/{holder.project}/{holder.name}"


def _changed(fields: VersionFields, base: records.Version, stored: records.Version) -> dict[str, Any]:
    """New values of the fields that differ from `base`, which was read, merged with what is `stored` now."""
    changed: dict[str, Any] = {}
    if (fields.description or "") != base.description:
        changed["description"] = fields.description or ""
    if not identical(fields.metadata, base.metadata):
        changed["metadata"] = checked_metadata(_merged(fields.metadata, base.metadata, stored.metadata))
    expires = None if fields.ttl is None else base.create_time + fields.ttl
    if not _same_time(expires, base.expire_time):
        changed["expire_time"] = expires
    if fields.tags.added or fields.tags.removed:
        changed["tags"] = fields.tags.applied_to(stored.tags)
    return changed


def _merged(ours: Mapping[str, Any], base: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored, with the keys that were set, changed or removed in `ours` since `base`."""
    kept = {key: value for key, value in stored.items() if key in ours or key not in base}
    changed = {
        key: value for key, value in ours.items() if key not in base or not identical(value, base[key])
    }
    return kept | changed


def _same_time(one: datetime.datetime | None, other: datetime.datetime | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) < datetime.timedelta(seconds=1)
