"""A logged version, or a link to one: what an `Artifact` holds after it was logged."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from modelyard.artifacts.entries import ArtifactEntry
from modelyard.artifacts.fields import VersionFields
from modelyard.artifacts.name_lists import NameList
from modelyard.contract import errors, refs
from modelyard.rpc import records

if TYPE_CHECKING:
    from modelyard.artifacts.handles import CollectionHandle, RunHandle
    from modelyard.query.comparison import Comparison
    from modelyard.query.lineage import Lineage


class LoggedVersion(ABC):
    """A version with the link it was reached through, if any.

    Of a link whose source the caller's key may not read, `version` is None:
    only name, number and aliases are known then.
    """

    def __init__(self, version: records.Version | None, link: records.Link | None = None) -> None:
        if version is None and link is None:
            raise ValueError("neither a version nor a link")
        self.version = version
        self.link = link

    def source(self, member: str) -> records.Version:
        """The version itself. NotAllowed, which names `member`, if the key may not read it."""
        if self.version is None:
            raise errors.NotAllowed(
                f"{self.holder.ref} shows no {member}: its source version is in an entity that this key "
                "does not reach; a key for all entities does"
            )
        return self.version

    @property
    def holder(self) -> records.Version | records.Link:
        """What has the name, number and aliases: the link, else the version."""
        found = self.link or self.version
        assert found is not None
        return found

    @property
    def name(self) -> str:
        """`name:vN`."""
        return f"{self.holder.name}:v{self.holder.number}"

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is shown; see `Artifact.url`."""

    @property
    def identity(self) -> str:
        """Equal for equal artifacts: the version's id, where it is not visible the link's."""
        return (self.version or self.holder).id

    def fields(self) -> VersionFields:
        """The fields as the server has them, to be changed and passed to `save`."""
        version, aliases = self.version, NameList(self.holder.aliases, check=refs.check_alias)
        if version is None:
            return VersionFields(aliases=aliases)
        return VersionFields(
            description=version.description or None,
            metadata=copy.deepcopy(version.metadata),  # so that `save` sees changes at every level
            aliases=aliases,
            tags=NameList(version.tags, check=refs.check_tag),
            ttl=version.expire_time - version.create_time if version.expire_time else None,
        )

    @abstractmethod
    def entries(self, member: str) -> Mapping[str, ArtifactEntry]:
        """Its files and references by path; `member` is what an error names."""

    @abstractmethod
    def download(
        self,
        root: str | os.PathLike[str] | None,
        *,
        skip_cache: bool | None = None,
        path_prefix: str = "",
        only: str = "",
        allow_missing_references: bool = False,
    ) -> str:
        """Downloads into `root` and returns it; see `Artifact.download`. `only` is the path of one entry."""

    @abstractmethod
    def checkout(self, root: str | os.PathLike[str] | None) -> str:
        """Makes a folder hold the files of the version and no others; see `Artifact.checkout`."""

    @abstractmethod
    def sha256sums(self) -> dict[str, str]:
        """See `Artifact.sha256sums`."""

    @abstractmethod
    def verify(self, root: str | os.PathLike[str] | None) -> None:
        """See `Artifact.verify`."""

    @abstractmethod
    def collection(self) -> CollectionHandle:
        """What the link, else the version, belongs to."""

    @abstractmethod
    def without_link(self) -> LoggedVersion:
        """The version itself, not reached through a link."""

    @abstractmethod
    def source_collection(self) -> CollectionHandle:
        """The artifact that the version itself belongs to."""

    @abstractmethod
    def links(self) -> Sequence[LoggedVersion]:
        """The links to the version."""

    @abstractmethod
    def logged_by(self) -> RunHandle | None:
        """The run that made the version first."""

    @abstractmethod
    def used_by(self) -> Sequence[RunHandle]:
        """The runs that used the version."""

    @abstractmethod
    def lineage(self, depth: int, direction: str) -> Lineage:
        """The runs and versions around it."""

    @abstractmethod
    def compare(self, base: LoggedVersion | str, path_prefix: str) -> Comparison:
        """What differs from another version; see `Artifact.compare`."""

    @abstractmethod
    def save(self, fields: VersionFields) -> LoggedVersion:
        """Sends what differs from the server's fields; returns the version as the server has it then."""

    @abstractmethod
    def link_to(self, target_path: str, aliases: Sequence[str] | str | None) -> LoggedVersion:
        """Links the version into a registered model; returns the link."""

    @abstractmethod
    def unlink(self) -> None:
        """Removes the link. ValueError on a source version."""

    @abstractmethod
    def delete(self, delete_aliases: bool) -> LoggedVersion:
        """Deletes the version, or the link alone; returns what it is then."""
