"""Where the server's page shows things: addresses, or commands of a shell where the page has none.

An embedded server serves its page once it is asked to, so its page has an address
while it is open only; `modelyard open` opens it at any time. A server without a page
leaves `modelyard show`.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from modelyard.contract import refs
from modelyard.rpc import records

if TYPE_CHECKING:
    from modelyard.rpc.connection import Connection

Thing = records.Version | records.Link | records.Collection | records.RunRecord | records.ProjectRecord


def of_run(connection: Connection, path: str) -> str:
    """The address of a run, `entity/project/run_id`, or the command that shows it."""
    return at(connection, path_of_run(path)) or _command(connection, "show", path)


def of_project(connection: Connection, path: str) -> str:
    """The address of a project, `entity/project`, or the command that lists it."""
    return at(connection, path_of_project(path)) or _command(connection, "ls", path)


def of_version(connection: Connection, found: records.Version | records.Link) -> str:
    """The address of a version or a link, or the command that shows it."""
    return at(connection, path_of(found)) or _command(connection, "show", found.ref)


def of_collection(connection: Connection, found: records.Collection) -> str:
    """The address of an artifact or registered model, or the command that shows it."""
    return at(connection, path_of(found)) or _command(connection, "show", found.ref)


def path_of(thing: Thing) -> str:
    """The path of the view that shows a thing."""
    if isinstance(thing, records.RunRecord):
        return path_of_run(thing.path)
    if isinstance(thing, records.ProjectRecord):
        return path_of_project(thing.path)
    if isinstance(thing, records.Link):
        return _path(thing.entity, thing.project, "models", thing.name, f"v{thing.number}")
    if isinstance(thing, records.Version):
        name, number = thing.name, f"v{thing.number}"
        return _path(thing.entity, thing.project, "artifacts", thing.type, name, number)
    if thing.registered:
        return _path(thing.entity, thing.project, "models", thing.name)
    return _path(thing.entity, thing.project, "artifacts", thing.type, thing.name)


def path_of_run(path: str) -> str:
    """The path of the view of a run, `entity/project/run_id`."""
    entity, project, run_id = path.split("/")
    return _path(entity, project, "runs", run_id)


def path_of_project(path: str) -> str:
    """The path of the view of a project, `entity/project`; of a registry its registered models."""
    entity, project = path.split("/")
    if refs.is_registry(project):
        return f"/registry?{urlencode({'entity': entity})}"
    return _path(entity, project)


def at(connection: Connection, path: str) -> str:
    """The address of a path of the page; empty where the page has none."""
    page = connection.page()
    return page and page + path


def _command(connection: Connection, shown_by: str, ref: str) -> str:
    command = "open" if connection.embedded_folder is not None else shown_by
    return f"modelyard {command} {shlex.quote(ref)}"


def _path(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)
