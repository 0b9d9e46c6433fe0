"""What a command's REF means: a version, a link, an artifact, a registered model or a run."""

from __future__ import annotations

from modelyard.artifacts.artifact import Artifact
from modelyard.contract import errors, refs
from modelyard.public_runs.public_run import PublicRun
from modelyard.query.resolve import Resolver
from modelyard.registry.collection import ArtifactCollection
from modelyard.rpc import records, version_calls
from modelyard.workspace import Workspace

Thing = records.Version | records.Link | records.Collection | records.RunRecord


def open_version(workspace: Workspace, text: str) -> version_calls.Found:
    """The version a reference means. Without a project: in the default project, then in the registry."""
    return resolver_of(workspace).version(text)


def open_artifact(workspace: Workspace, text: str) -> Artifact:
    """As `open_version`, as a handle."""
    return workspace.artifact(*open_version(workspace, text))


def open_collection(workspace: Workspace, text: str) -> ArtifactCollection:
    """The artifact or registered model of a name, looked up as versions are; an alias after it is ignored."""
    return workspace.collection(resolver_of(workspace).collection(text))


def open_run(workspace: Workspace, text: str, attempt: int | None = None) -> PublicRun:
    """The run `[[entity/]project/]run_id`, or an earlier attempt of it. Errors: NotFound."""
    found = workspace.run(workspace.resolver().run(text))
    if attempt in {None, found.attempt}:
        return found
    for each in found.attempts():
        if each.attempt == attempt:
            return each
    raise errors.NotFound(
        f"run {'/'.join(found.path)} has no attempt {attempt}; its latest is {found.attempt}"
    )


def open_thing(workspace: Workspace, text: str) -> Thing:
    """With an alias a version or link, without one an artifact, registered model or run, in this order."""
    resolver = resolver_of(workspace)
    if refs.parse(text).alias:
        version, link = resolver.version(text)
        return link or version
    found = resolver.find_collection(text) or _find_run(resolver, text)
    if found is None:
        raise resolver.not_found(text, "artifact, registered model or run")
    return found


def resolver_of(workspace: Workspace) -> Resolver:
    """How commands look references up: in the registry too, where they name no project."""
    return workspace.resolver(search_registry=True)


def _find_run(resolver: Resolver, text: str) -> records.RunRecord | None:
    try:
        return resolver.run(text)
    except (errors.NotFound, ValueError):  # a name that cannot be a run's is no run
        return None
