"""Artifacts: files with a name, in versions that never change."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any

from modelyard import errors, records, refs
from modelyard.artifact_facts import ArtifactFacts
from modelyard.draft import Draft, DraftEntry, files_below, refuse_reference
from modelyard.metadata import checked_metadata

if TYPE_CHECKING:
    from modelyard.api import PublicRun
    from modelyard.connection import Connection
    from modelyard.manifest import FileEntry
    from modelyard.settings import Settings


class ArtifactTTL:
    """`artifact.ttl = ArtifactTTL.INHERIT`: what the server's default says (today: for ever)."""

    INHERIT = "inherit"


class Artifact(ArtifactFacts):
    """A draft that files are added to; once logged, a version of them.

    The content of a logged version is frozen; description, metadata, tags,
    aliases and ttl may change, then `save()`.
    """

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        incremental: bool = False,
        use_as: str | None = None,
    ) -> None:
        if incremental:
            raise errors.UsageError(
                "incremental artifacts are not supported: add every file of the new version"
            )
        self._name = refs.check_artifact_name(name)
        if not isinstance(type, str) or not type:
            raise ValueError("an artifact has a type, such as 'model' or 'dataset'")
        self._type = type
        self.description = description
        self.metadata: dict[str, Any] = checked_metadata(metadata)
        self.aliases: list[str] = []
        self.tags: list[str] = []
        self.use_as = use_as
        self._ttl: datetime.timedelta | None = None
        self._draft = Draft()
        self._connection: Connection | None = None
        self._settings: Settings | None = None
        self._version: records.Version | None = None
        self._link: records.Link | None = None
        self._entries: dict[str, FileEntry] | None = None

    @classmethod
    def _of(
        cls,
        connection: Connection,
        settings: Settings,
        version: records.Version,
        link: records.Link | None = None,
    ) -> Artifact:
        artifact = cls(version.name, version.type)
        artifact._become(connection, settings, version, link)
        return artifact

    def _become(
        self,
        connection: Connection,
        settings: Settings,
        version: records.Version,
        link: records.Link | None = None,
    ) -> None:
        """Makes this object the logged version."""
        self._connection, self._settings = connection, settings
        self._version, self._link = version, link
        self._type = version.type
        self.description = version.description or None
        self.metadata = dict(version.metadata)
        self.aliases = list(link.aliases if link else version.aliases)
        self.tags = list(version.tags)
        self._ttl = version.expire_time - version.create_time if version.expire_time else None
        self._draft = Draft()
        self._entries = None

    @property
    def ttl(self) -> datetime.timedelta | None:
        """How long the version lives; None: for ever. Set it to change it. ValueError on a link."""
        return self._ttl

    @ttl.setter
    def ttl(self, ttl: datetime.timedelta | str | None) -> None:
        if self._link is not None:
            raise ValueError("a link has no ttl: set it on the source version")
        if isinstance(ttl, str) or ttl is None:
            self._ttl = None
        elif ttl <= datetime.timedelta(0):
            raise ValueError("ttl must be longer than nothing")
        else:
            self._ttl = ttl

    def _checked_metadata(self) -> dict[str, Any]:
        """The metadata as it goes to the server: users may have changed the dict since."""
        return checked_metadata(self.metadata)

    # Adding files.

    def _open_draft(self, what: str) -> Draft:
        if self._version is not None:
            raise errors.ArtifactFinalizedError(
                f"{what}: {self.name} is logged and its content is frozen; make a new Artifact"
            )
        return self._draft

    def add_file(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        is_tmp: bool | None = False,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        overwrite: bool = False,
    ) -> DraftEntry:
        """Adds one file, as `name` (default: its own name).

        It is copied at once, so that it may change before it is logged; with
        `policy="immutable"` it is read when it is logged. Errors: ValueError.
        """
        draft = self._open_draft("add_file")
        if policy not in {"mutable", "immutable", None}:
            raise ValueError(f"policy must be 'mutable' or 'immutable', not {policy!r}")
        source = Path(local_path).expanduser()
        return draft.add(source, name or source.name, copy=policy != "immutable", overwrite=overwrite)

    def add_dir(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        merge: bool = False,
    ) -> None:
        """Adds all files below a folder, under `name` (default: at the top). Errors: ValueError."""
        draft = self._open_draft("add_dir")
        folder = Path(local_path).expanduser().absolute()
        if not folder.is_dir():
            raise ValueError(f"{os.fspath(local_path)!r} is not a folder")
        for file in files_below(folder, (name or "").strip("/")):
            draft.add(file.source, file.path, copy=policy != "immutable", overwrite=merge)

    def new_file(
        self, name: str, mode: str = "x", encoding: str | None = None
    ) -> AbstractContextManager[IO[Any]]:
        """`with artifact.new_file("notes.txt") as file: …` writes a file of the artifact."""
        return self._open_draft("new_file").write(name, mode, encoding)

    def add_reference(
        self, uri: str, name: str | None = None, checksum: bool = True, max_objects: int | None = None
    ) -> Sequence[DraftEntry]:
        """Not in this release: UsageError. ValueError where `uri` has no scheme."""
        self._open_draft("add_reference")
        if "://" not in str(uri):
            raise ValueError(f"a reference has a scheme, such as s3:// or https://: {uri!r}")
        refuse_reference(str(uri))
        return []

    def remove(self, item: str | os.PathLike[str] | DraftEntry) -> None:
        """Takes a file out of a draft, or all below a folder. FileNotFoundError when there is none."""
        self._open_draft("remove").remove(item.path if isinstance(item, DraftEntry) else os.fspath(item))

    # Reading.

    @property
    def manifest(self) -> SimpleNamespace:
        """`manifest.entries` maps path → entry."""
        return SimpleNamespace(entries=self._manifest_entries())

    @property
    def linked_artifacts(self) -> list[Artifact]:
        """The links to it."""
        from modelyard import catalog

        version, connection, settings = self._server("linked_artifacts")
        links = [catalog.get_link(connection, ref) for ref in version.linked_to]
        return [Artifact._of(connection, settings, link.source, link) for link in links]

    def _server(self, member: str) -> tuple[records.Version, Connection, Settings]:
        version = self._logged(member)
        if self._connection is None or self._settings is None:
            raise errors.ArtifactNotLoggedError(f"{member} needs a server")
        return version, self._connection, self._settings

    def _manifest_entries(self) -> Mapping[str, FileEntry | DraftEntry]:
        if self._version is None:
            return dict(self._draft.entries)
        if self._entries is None:
            from modelyard.transfer import manifest

            version, connection, _ = self._server("manifest")
            self._entries = {entry.path: entry for entry in manifest(connection, version.id)}
        return self._entries

    def get_entry(self, name: str) -> FileEntry | DraftEntry:
        """The entry of a path. KeyError when there is none."""
        entries = self._manifest_entries()
        if name not in entries:
            raise KeyError(f"Path not contained in artifact: {name}")
        return entries[name]

    def files(self, names: Sequence[str] | None = None) -> list[FileEntry | DraftEntry]:
        """Its entries, by path; only those of `names` when given."""
        return [entry for path, entry in self._manifest_entries().items() if names is None or path in names]

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: str | os.PathLike[str] | None = None,
    ) -> str:
        """Downloads its files into `root` and returns it, absolute.

        Default: `<MODELYARD_ARTIFACT_DIR or ./artifacts>/<source name:vN>`. What
        is there already, or in the local cache, costs no transfer.
        """
        from modelyard import transfer

        version, connection, settings = self._server("download")
        place = Path(root).expanduser().absolute() if root else settings.artifact_root / self.source_name
        prefix = os.fspath(path_prefix) if path_prefix else ""
        cache = transfer.Cache(Path(settings.cache_dir)) if settings.cache_dir else transfer.Cache()
        message: Any = version  # has the fields of the message that a download reads
        transfer.download(
            connection, message, place, path_prefix=prefix, cache=cache, skip_cache=bool(skip_cache)
        )
        return str(place)

    def file(self, root: str | os.PathLike[str] | None = None) -> str:
        """Downloads the only file of a version and returns its path. ValueError when there are others."""
        paths = list(self._manifest_entries())
        if len(paths) != 1:
            raise ValueError(f"{self.name} has {len(paths)} files; use download()")
        return str(Path(self.download(root), paths[0]))

    # Changing what may change.

    def wait(self, timeout: float | None = None) -> Artifact:
        """Itself: a logged artifact is committed when the call that logged it returns."""
        self._logged("wait")
        return self

    def save(self) -> None:
        """Sends what was changed of description, metadata, tags, aliases and ttl; logs a draft."""
        from modelyard import changes

        if self._version is None:
            from modelyard import session

            session.require_run("Artifact.save").log_artifact(self)
            return
        changes.save(self)

    def link(self, target_path: str, aliases: Sequence[str] | str | None = None) -> Artifact:
        """Links it into a registered model: `name`, `project/name` or `entity/project/name`."""
        from modelyard import changes

        return changes.link(self, target_path, aliases)

    def unlink(self) -> None:
        """Removes the link that it is; the source stays. ValueError on a source."""
        from modelyard import catalog

        _, connection, _ = self._server("unlink")
        if self._link is None:
            raise ValueError(f"{self.name} is not a link: only links can be unlinked")
        catalog.unlink(connection, self._link.id)

    def delete(self, delete_aliases: bool = False) -> None:
        """Deletes the version. CommError when it has aliases or links, unless `delete_aliases`."""
        from modelyard import catalog

        version, connection, _ = self._server("delete")
        catalog.delete_version(connection, version.id, delete_aliases)

    def logged_by(self) -> PublicRun | None:
        """The run that made it first; None when it was logged without one."""
        from modelyard import catalog
        from modelyard.api import PublicRun

        version, connection, _ = self._server("logged_by")
        if not version.producer_run_id:
            return None
        return PublicRun(connection, catalog.run_by_id(connection, version.producer_run_id))
