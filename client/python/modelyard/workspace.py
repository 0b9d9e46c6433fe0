"""`Workspace`: one server with the local cache, and the handles of what the server has."""

from __future__ import annotations

from typing import Any

from modelyard.artifacts import cached_use
from modelyard.artifacts.artifact import Artifact
from modelyard.artifacts.server_version import ServerVersion
from modelyard.cache.content import Cache
from modelyard.configuration.settings import Settings
from modelyard.contract import refs
from modelyard.public_runs.public_run import PublicRun
from modelyard.query.resolve import Resolver
from modelyard.registry.artifact_type import ArtifactType
from modelyard.registry.collection import ArtifactCollection, RegisteredModel
from modelyard.registry.project import Project
from modelyard.registry.registry import Registry
from modelyard.rpc import records
from modelyard.rpc.connection import Connection, connect


class Workspace:
    """The connection, settings and cache that handles share.

    Handles are made here and nowhere else, so that no handle imports another
    kind; each keeps its workspace, and asks it for the handles that it returns.
    Nothing is sent, and no server started, before the first call.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings: Settings = settings
        self.connection: Connection = connect(settings)

    def __copy__(self) -> Workspace:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Workspace:
        return self

    @property
    def cache(self) -> Cache:
        """The local cache of content and versions."""
        return cached_use.cache_of(self.settings)

    def resolver(self, *, search_registry: bool = False) -> Resolver:
        """What looks references up, with the entity and project of the settings."""
        project = self.settings.project or refs.DEFAULT_PROJECT
        return Resolver(self.connection, self.settings.entity or "", project, search_registry=search_registry)

    def artifact(
        self, found: records.Version | records.Link, through: records.Link | None = None
    ) -> Artifact:
        """The handle of a version, perhaps reached through a link, or of a link."""
        if isinstance(found, records.Link):
            return Artifact._of(ServerVersion(self, found.source, found))
        return Artifact._of(ServerVersion(self, found, through))

    def collection(self, record: records.Collection) -> ArtifactCollection:
        """The handle of an artifact or registered model."""
        return self.registered_model(record) if record.registered else ArtifactCollection(self, record)

    def registered_model(self, record: records.Collection) -> RegisteredModel:
        """The handle of a registered model."""
        return RegisteredModel(self, record)

    def registry(self, record: records.RegistryRecord) -> Registry:
        """The handle of a registry."""
        return Registry(self, record)

    def artifact_type(self, entity: str, project: str, name: str, count: int | None = None) -> ArtifactType:
        """The handle of a type of a project's artifacts; `count` None: not known yet."""
        return ArtifactType(self, entity, project, name, count)

    def project(self, record: records.ProjectRecord) -> Project:
        """The handle of a project."""
        return Project(self, record)

    def run(self, record: records.RunRecord) -> PublicRun:
        """The handle of a run."""
        return PublicRun(self, record)
