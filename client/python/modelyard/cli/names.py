"""What a word on the command line means: a version, a collection, a run, a project."""

from __future__ import annotations

from modelyard.configuration.settings import Settings
from modelyard.contract import errors, refs
from modelyard.rpc import records, version_calls
from modelyard.rpc.connection import Connection

Thing = records.Version | records.Link | records.Collection | records.RunRecord


_PARTS = ("", "entity", "project", "name", "version")
"""What of a reference can be absent, in the order in which it is looked up."""


def open_version(connection: Connection, settings: Settings, text: str) -> version_calls.Found:
    """The version a reference means. Without a project: in the default project, then in the registry."""
    return _resolve(connection, settings, refs.parse(text))


def open_thing(connection: Connection, settings: Settings, text: str) -> Thing:
    """A version, a link, an artifact, a registered model or a run, in this order."""
    ref = refs.parse(text)
    if ref.alias:
        version, link = _resolve(connection, settings, ref)
        return link or version
    found = find_thing(connection, settings, ref) or _find_run(connection, ref, settings)
    if found is None:
        raise absent(connection, settings, ref, "artifact, registered model or run")
    return found


def open_collection(connection: Connection, settings: Settings, text: str) -> records.Collection:
    """An artifact or a registered model, looked for as versions are; an alias behind it is ignored."""
    ref = refs.parse(text)
    found = find_thing(connection, settings, ref)
    if found is None:
        raise absent(connection, settings, ref, "artifact or registered model")
    return found


def find_thing(connection: Connection, settings: Settings, ref: refs.Ref) -> records.Collection | None:
    """The first artifact or registered model that a short reference may mean."""
    found = (find_collection(connection, candidate) for candidate in candidates(ref, settings))
    return next(filter(None, found), None)


def absent(connection: Connection, settings: Settings, ref: refs.Ref, what: str) -> errors.NotFound:
    """The error for a reference that means nothing, with the reason that the server gives."""
    why = ""
    try:
        _resolve(connection, settings, refs.Ref(ref.entity, ref.project, ref.name))
    except errors.NotFound as error:
        why = error.metadata.get("why", "")
    return errors.NotFound(f"{ref}: no such {what}" + (f": {why}" if why else ""))


def _resolve(connection: Connection, settings: Settings, ref: refs.Ref) -> version_calls.Found:
    refusals = []
    for candidate in candidates(ref, settings):
        try:
            return version_calls.resolve(connection, str(candidate))
        except errors.NotFound as error:
            refusals.append(error)
    nearest = max(refusals, key=_how_near)
    if len(refusals) > 1 and nearest.metadata.get("missing") != "version":
        places = " and ".join(candidate.project for candidate in candidates(ref, settings))
        raise errors.NotFound(
            f"{nearest} (without a project, {places} are searched)", metadata=nearest.metadata
        )
    raise nearest


def _how_near(refusal: errors.NotFound) -> tuple[int, bool]:
    """A refusal knows more the further the lookup came, and where it knows a name that is like it."""
    return _PARTS.index(refusal.metadata.get("missing", "")), refusal.metadata.get("why", "").endswith("?")


def find_collection(connection: Connection, ref: refs.Ref) -> records.Collection | None:
    """An artifact or a registered model."""
    if refs.is_registry(ref.project):
        return version_calls.find_registered_model(connection, str(ref))
    return version_calls.find_artifact(connection, str(ref)) or version_calls.find_registered_model(
        connection, str(ref)
    )


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
        return version_calls.get_run(connection, ref.entity or settings.entity or "", project, ref.name)
    except (errors.NotFound, errors.InvalidField):  # a name that cannot be a run's is no run
        return None
