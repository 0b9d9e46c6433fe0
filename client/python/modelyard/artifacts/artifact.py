"""Artifacts: files with a name, in versions that never change."""

from __future__ import annotations

import copy
import datetime
import enum
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from modelyard.arguments import checked_calls
from modelyard.artifacts.alias_lists import Labels
from modelyard.artifacts.draft import Draft, DraftEntry
from modelyard.artifacts.entries import ArtifactEntry
from modelyard.artifacts.logged import LoggedArtifact
from modelyard.artifacts.metadata import checked_metadata
from modelyard.contract import errors, refs
from modelyard.host.local_files import check_readable, files_below, is_folder
from modelyard.rpc import records

if TYPE_CHECKING:
    from modelyard.configuration.settings import Settings
    from modelyard.rpc.connection import Connection


class ArtifactTTL(enum.Enum):
    """What `artifact.ttl` takes besides a timedelta and None."""

    INHERIT = "inherit"
    """What the server's default says; today that is for ever."""


@checked_calls()
class Artifact(LoggedArtifact):
    """A draft that files are added to; once logged, a version of them.

    The content of a logged version is frozen; description, metadata, tags,
    aliases and ttl may change, then `save()`. With `incremental`, what the
    newest version of the name holds when this one is logged is kept besides.
    Members that only a logged version has raise ArtifactNotLoggedError on a draft.
    A copy of a draft is a draft of its own. A pickle holds no key and no bytes: who
    reads it uses their own key, and finds the files of a draft where they lie.
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
        self._name = refs.check_artifact_name(name)
        if not type:
            raise ValueError("type is empty: an artifact has one, such as 'model' or 'dataset'")
        self._type = type
        self._description = description
        self._metadata = checked_metadata(metadata)
        self._aliases = Labels(check=refs.check_alias)
        self._tags = Labels(check=refs.check_tag)
        self.use_as = use_as
        self.incremental = bool(incremental)
        self._ttl: datetime.timedelta | None = None
        self._draft = Draft()
        self._connection: Connection | None = None
        self._settings: Settings | None = None
        self._version: records.Version | None = None
        self._link: records.Link | None = None
        self._entries: dict[str, ArtifactEntry] | None = None

    def __copy__(self) -> Artifact:
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        labels = {"_aliases": self._aliases.state(), "_tags": self._tags.state()}
        return {**self.__dict__, **labels, "_entries": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._aliases, self._tags = (
            Labels(names, check=check, stored=stored)
            for (names, stored), check in (
                (state["_aliases"], refs.check_alias),
                (state["_tags"], refs.check_tag),
            )
        )

    @classmethod
    def _of(
        cls,
        connection: Connection,
        settings: Settings,
        version: records.Version | None,
        link: records.Link | None = None,
    ) -> Artifact:
        artifact = cls("logged", "logged")
        artifact._become(connection, settings, version, link)
        return artifact

    def _become(
        self,
        connection: Connection,
        settings: Settings,
        version: records.Version | None,
        link: records.Link | None = None,
    ) -> None:
        """Makes this object the logged version; without a version the link to one that is not visible."""
        self._connection, self._settings = connection, settings
        self._version, self._link = version, link
        self._aliases = Labels(self._holder.aliases, check=refs.check_alias)
        self._name, self._type = self._holder.name, version.type if version else ""
        self._description = (version.description or None) if version else None
        self._metadata = dict(version.metadata) if version else {}
        self._tags = Labels(version.tags if version else (), check=refs.check_tag)
        expires = version and version.expire_time
        self._ttl = expires - version.create_time if version and expires else None
        self._draft = Draft()
        self._entries = None

    @property
    def description(self) -> str | None:
        """Free text, None without one. Set it, then `save()`."""
        return self._description

    @description.setter
    def description(self, description: str | None) -> None:
        self._description = description

    @property
    def metadata(self) -> dict[str, Any]:
        """At most 100 keys at the top; NaN becomes None. Change or set it, then `save()`.

        ValueError for infinities: at once when it is set, else when it is sent.
        """
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: Mapping[str, Any] | None) -> None:
        self._metadata = checked_metadata(metadata)

    @property
    def aliases(self) -> Labels:
        """Names that point at it, of a link the link's; change the list, then `save()`."""
        return self._aliases

    @aliases.setter
    def aliases(self, aliases: Iterable[str]) -> None:
        self._aliases = self._aliases.replaced(aliases)

    @property
    def tags(self) -> Labels:
        """Labels of the version; change the list, then `save()`."""
        return self._tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        self._tags = self._tags.replaced(tags)

    @property
    def ttl(self) -> datetime.timedelta | None:
        """How long the version lives after it was logged; None: for ever. Set it, then `save()`.

        ValueError on a link: linking cleared it.
        """
        return self._ttl

    @ttl.setter
    def ttl(self, ttl: datetime.timedelta | ArtifactTTL | None) -> None:
        if self._link is not None:
            raise ValueError("a link has no ttl: set it on the source version")
        if ttl is None or isinstance(ttl, ArtifactTTL):
            self._ttl = None
        elif not isinstance(ttl, datetime.timedelta):
            raise TypeError(f"ttl is a timedelta, ArtifactTTL.INHERIT or None, not {type(ttl).__name__}")
        elif ttl <= datetime.timedelta(0):
            raise ValueError("ttl must be longer than nothing")
        else:
            self._ttl = ttl

    def _checked_metadata(self) -> dict[str, Any]:
        """The metadata as it goes to the server: users may have changed the dict since."""
        return checked_metadata(self.metadata)

    # Adding files.

    def _open_draft(self, what: str) -> Draft:
        if not self.is_draft:
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
        `policy="immutable"` it is read when it is logged. Errors: ValueError, LocalFileError.
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
        """Adds all files below a folder, under `name` (default: at the top); links to folders are followed.

        Errors: ValueError, LocalFileError for what cannot be read or is no file;
        then nothing is added.
        """
        draft = self._open_draft("add_dir")
        folder = Path(local_path).expanduser().absolute()
        if not is_folder(folder):
            raise ValueError(f"{os.fspath(local_path)!r} is not a folder")
        found = list(files_below(folder, (name or "").strip("/")))
        for file in found:  # all of them first: an error leaves the draft as it was
            check_readable(file.source)
        for file in found:
            draft.add(Path(file.source), file.path, copy=policy != "immutable", overwrite=merge)

    def new_file(
        self, name: str, mode: str = "x", encoding: str | None = None
    ) -> AbstractContextManager[IO[Any]]:
        """`with artifact.new_file("notes.txt") as file: …` writes a file of the artifact."""
        return self._open_draft("new_file").write(name, mode, encoding)

    def add_reference(
        self, uri: str, name: str | None = None, checksum: bool = True, max_objects: int | None = None
    ) -> Sequence[DraftEntry]:
        """Adds where bytes are kept, instead of the bytes: `s3://`, `gs://`, `https://`, `file://`.

        A folder, prefix or bucket expands to all of its objects, below `name`
        (default: at the top). Of each the tag (ETag, or SHA-256 of a file) and size are recorded,
        unless `checksum=False`: then only the URI. Other schemes need `name`.
        Errors: ValueError without a scheme, for more than `max_objects`
        (default: 200,000), for a path that is taken; ReferenceMissing, Error.
        """
        from modelyard.references import schemes as references

        draft = self._open_draft("add_reference")
        return draft.add_references(references.expand(uri, name, checksum, max_objects))

    def remove(self, item: str | os.PathLike[str] | DraftEntry | ArtifactEntry) -> None:
        """Takes a file out of a draft, or all below a folder. FileNotFoundError when there is none."""
        path = item.path if isinstance(item, DraftEntry | ArtifactEntry) else os.fspath(item)
        self._open_draft("remove").remove(path)
