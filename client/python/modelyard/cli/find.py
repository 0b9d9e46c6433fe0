"""What a word on the command line means: a version, a collection, a run, a project."""

from __future__ import annotations

from modelyard import catalog, errors, records, refs
from modelyard.connection import Connection
from modelyard.settings import Settings

Thing = records.Version | records.Link | records.Collection | records.RunRecord


def open_version(connection: Connection, settings: Settings, text: str) -> catalog.Found:
    """The version a reference means. Without a project: in the default project, then in the registry."""
    ref = refs.parse(text)
    for candidate in candidates(ref, settings):
        try:
            return catalog.resolve(connection, str(candidate))
        except errors.NotFound:
            continue
    raise errors.NotFound(f"{text}: no such version")


def open_thing(connection: Connection, settings: Settings, text: str) -> Thing:
    """A version, a link, an artifact, a registered model or a run, in this order."""
    ref = refs.parse(text)
    for candidate in candidates(ref, settings):
        if ref.alias:
            try:
                version, link = catalog.resolve(connection, str(candidate))
            except errors.NotFound:
                continue
            return link or version
        found = find_collection(connection, candidate)
        if found is not None:
            return found
    if not ref.alias:
        run = _find_run(connection, ref, settings)
        if run is not None:
            return run
    raise errors.NotFound(f"{text}: no such version, artifact, registered model or run")


def find_collection(connection: Connection, ref: refs.Ref) -> records.Collection | None:
    """An artifact or a registered model."""
    if refs.is_registry(ref.project):
        return catalog.find_registered_model(connection, str(ref))
    return catalog.find_artifact(connection, str(ref)) or catalog.find_registered_model(connection, str(ref))


def candidates(ref: refs.Ref, settings: Settings) -> list[refs.Ref]:
    """The full references that a short one may mean, in order."""
    entity = ref.entity or settings.entity or ""
    if ref.project:
        return [refs.Ref(entity, ref.project, ref.name, ref.alias)]
    projects = [settings.project or refs.DEFAULT_PROJECT, refs.REGISTRY_PROJECT]
    return [refs.Ref(entity, project, ref.name, ref.alias) for project in projects]


def _find_run(connection: Connection, ref: refs.Ref, settings: Settings) -> records.RunRecord | None:
    project = ref.project or settings.project or refs.DEFAULT_PROJECT
    try:
        return catalog.get_run(connection, ref.entity or settings.entity or "", project, ref.name)
    except (errors.NotFound, errors.InvalidField):  # a name that cannot be a run's is no run
        return None
