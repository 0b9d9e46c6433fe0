"""The classes of what `Api` returns, under the names that scripts for W&B know."""

from __future__ import annotations

from modelyard.api import Api
from modelyard.apis.public import api, artifacts, files, projects, runs, users
from modelyard.artifacts.artifact import Artifact
from modelyard.public_runs.files import PublicFile as File
from modelyard.public_runs.public_run import PublicRun as Run
from modelyard.public_runs.runs import Runs
from modelyard.registry.artifact_type import ArtifactType
from modelyard.registry.collection import ArtifactCollection
from modelyard.registry.project import Project, User
from modelyard.registry.registry import Registries, Registry

__all__ = [
    "Api",
    "Artifact",
    "ArtifactCollection",
    "ArtifactType",
    "File",
    "Project",
    "Registries",
    "Registry",
    "Run",
    "Runs",
    "User",
    "api",
    "artifacts",
    "files",
    "projects",
    "runs",
    "users",
]
