"""What artifacts need of handles of other kinds, and of the workspace that makes them.

Handles are the objects that users hold: artifacts, collections, runs,
registries. The classes are `registry.collection.ArtifactCollection`,
`public_runs.public_run.PublicRun` and `workspace.Workspace`, which import this folder;
these protocols let artifacts return them without importing them back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from modelyard.cache.content import Cache
    from modelyard.configuration.settings import Settings
    from modelyard.query.listing import Listing
    from modelyard.rpc import records
    from modelyard.rpc.connection import Connection


class CollectionHandle(Protocol):
    """An artifact or registered model with its versions; see `registry.collection`."""

    name: str
    description: str | None

    @property
    def id(self) -> str:
        """Global id."""

    @property
    def entity(self) -> str:
        """Who owns it."""

    @property
    def project(self) -> str:
        """Its project or registry."""

    @property
    def type(self) -> str:
        """Type of its versions."""

    @property
    def qualified_name(self) -> str:
        """`entity/project/name`."""

    @property
    def aliases(self) -> list[str]:
        """Every alias of its versions."""

    @property
    def version_count(self) -> int:
        """Number of versions when it was read."""

    def versions(self) -> Listing[Any]:
        """Its versions, newest first."""

    def is_sequence(self) -> bool:
        """Whether it has versions of its own, rather than links."""

    def save(self) -> None:
        """Sends changes of description and tags."""

    def delete(self, delete_aliases: bool = ...) -> None:
        """Deletes it with its versions."""


class RunHandle(Protocol):
    """A run as the server has it; see `public_runs.public_run`."""

    name: str
    notes: str
    tags: list[str]
    config: dict[str, Any]

    @property
    def summary(self) -> dict[str, Any]:
        """Its results."""

    @property
    def id(self) -> str:
        """Short id, unique in the project."""

    @property
    def entity(self) -> str:
        """Who owns it."""

    @property
    def project(self) -> str:
        """What it is about."""

    @property
    def state(self) -> str:
        """running, finished, failed, crashed or killed."""

    @property
    def path(self) -> list[str]:
        """`[entity, project, run_id]`."""

    def _restore(self, name: str, root: str, *, replace: bool) -> TextIO | None:
        """Downloads a file of it and opens it; None when it has no such file."""

    def update(self) -> None:
        """Sends what was changed here."""


class Workspace(Protocol):
    """What a logged version needs of its workspace."""

    @property
    def settings(self) -> Settings:
        """Which server, which folders."""

    @property
    def connection(self) -> Connection:
        """The connection to the server."""

    @property
    def cache(self) -> Cache:
        """The local cache of content and versions."""

    def collection(self, record: records.Collection) -> CollectionHandle:
        """The handle of an artifact or registered model."""

    def run(self, record: records.RunRecord) -> RunHandle:
        """The handle of a run."""
