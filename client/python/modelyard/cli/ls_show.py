"""`modelyard ls` and `modelyard show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

import click

from modelyard.cli import details
from modelyard.cli.lookup import open_thing, resolver_of
from modelyard.cli.output import as_json, print_json, print_table
from modelyard.cli.tables import Record, table
from modelyard.configuration.settings import current
from modelyard.contract import errors
from modelyard.contract.streams import echo
from modelyard.rpc import list_calls, records
from modelyard.rpc.connection import Connection
from modelyard.workspace import Workspace

_T = TypeVar("_T")
_Lists = Mapping[str, Sequence[Record]]


@click.command()
@click.argument("what", required=False, metavar="[PROJECT|MODEL]")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most lines of a kind.")
@as_json
def ls(what: str | None, limit: int, json: bool) -> None:
    """List artifacts and registered models; of a PROJECT also its runs; of a MODEL its versions.

    PROJECT is [entity/]project, MODEL [[entity/]project/]name.
    """
    workspace = Workspace(current())
    text = (what or "").rstrip("/")
    lists: _Lists = {} if text.count("/") == 2 else _project(workspace, text, limit)
    if text and not any(lists.values()):
        lists = {"versions": _versions(workspace, text, limit)}
    if json:
        print_json({kind: [records.as_json(item) for item in items] for kind, items in lists.items()})
        return
    for number, kind in enumerate(kind for kind, items in lists.items() if items):
        if number:
            echo()
        print_table(*table(kind, lists[kind]))
    if not any(lists.values()):
        echo("Nothing yet. `modelyard log PATH --name NAME` logs a first model.", err=True)


@click.command()
@click.argument("ref")
@as_json
def show(ref: str, json: bool) -> None:
    """Show a version, an artifact, a registered model, or a run (entity/project/run_id)."""
    workspace = Workspace(current())
    thing = open_thing(workspace, ref)
    if json:
        print_json(details.to_json(workspace.connection, thing))
    elif isinstance(thing, records.RunRecord):
        details.print_run(thing)
    elif isinstance(thing, records.Collection):
        details.print_collection(workspace.connection, thing)
        print_table(*table("versions", _of_collection(workspace.connection, thing, 50)))
    elif isinstance(thing, records.Link):
        details.print_link(workspace.connection, thing)
    else:
        details.print_version(workspace.connection, thing)


def _project(workspace: Workspace, text: str, limit: int) -> _Lists:
    entity, project = ["", *text.split("/")][-2:]
    entity, connection = entity or workspace.settings.entity or "", workspace.connection
    lists: dict[str, Sequence[records.Collection | records.RunRecord]] = {
        "artifacts": _some(list_calls.artifacts(connection, entity, project), limit),
        "registered_models": _some(list_calls.registered_models(connection, entity, project), limit),
    }
    if project:
        lists["runs"] = _some(list_calls.runs(connection, entity, project), limit)
    return lists


def _some(items: Iterator[_T], limit: int) -> list[_T]:
    try:
        return list(islice(items, limit))
    except errors.NotFound:  # no such project
        return []


def _versions(workspace: Workspace, text: str, limit: int) -> Sequence[records.Version | records.Link]:
    found = resolver_of(workspace).collection(text, "project, artifact or registered model")
    return _of_collection(workspace.connection, found, limit)


def _of_collection(
    connection: Connection, collection: records.Collection, limit: int
) -> Sequence[records.Version | records.Link]:
    if collection.registered:
        return list(islice(list_calls.links(connection, collection.id), limit))
    return list(islice(list_calls.versions(connection, collection.id), limit))
