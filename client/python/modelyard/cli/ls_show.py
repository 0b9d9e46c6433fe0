"""`modelyard ls` and `modelyard show`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import click

from modelyard.cli import details
from modelyard.cli.lookup import open_thing, resolver_of
from modelyard.cli.output import as_json, print_json, print_rest, print_table
from modelyard.cli.tables import Record, some, table
from modelyard.configuration.settings import current
from modelyard.contract import errors
from modelyard.contract.streams import echo
from modelyard.rpc import list_calls, records
from modelyard.rpc.connection import Connection
from modelyard.workspace import Workspace


class _Listing(NamedTuple):
    """The first items of a list: their kind, and whether there are more."""

    kind: str
    items: Sequence[Record]
    more: bool


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
    found = [] if text.count("/") == 2 else _of_project(workspace, text, limit)
    if text and not any(listing.items for listing in found):
        model = resolver_of(workspace).collection(text, "project, artifact or registered model")
        found = [_of_collection(workspace.connection, model, limit)]
    if json:
        _print_json(found)
        return
    shown = [listing for listing in found if listing.items]
    for number, listing in enumerate(shown):
        if number:
            echo()
        print_table(*table(listing.kind, listing.items))
        print_rest(limit, listing.more)
    if not shown:
        echo("Nothing yet. `modelyard log PATH --name NAME` logs a first model.", err=True)


@click.command()
@click.argument("ref")
@as_json
def show(ref: str, json: bool) -> None:
    """Show a version, an artifact, a registered model, or a run (entity/project/run_id).

    Of an artifact or registered model the newest 50 versions; `modelyard ls` with --limit lists more.
    With --json, `more` says whether there are any.
    """
    workspace = Workspace(current())
    thing = open_thing(workspace, ref)
    if json:
        print_json(details.to_json(workspace.connection, thing))
    elif isinstance(thing, records.RunRecord):
        details.print_run(workspace.connection, thing)
    elif isinstance(thing, records.Collection):
        details.print_collection(workspace.connection, thing)
        listing = _of_collection(workspace.connection, thing, details.VERSIONS_SHOWN)
        print_table(*table(listing.kind, listing.items))
        print_rest(details.VERSIONS_SHOWN, listing.more, f"modelyard ls {shlex.quote(thing.ref)}")
    elif isinstance(thing, records.Link):
        details.print_link(workspace.connection, thing)
    else:
        details.print_version(workspace.connection, thing)


def _of_project(workspace: Workspace, text: str, limit: int) -> list[_Listing]:
    entity, project = ["", *text.split("/")][-2:]
    entity, connection = entity or workspace.settings.entity or "", workspace.connection
    found = [
        _listing("artifacts", list_calls.artifacts(connection, entity, project), limit),
        _listing("registered_models", list_calls.registered_models(connection, entity, project), limit),
    ]
    if project:
        found.append(_listing("runs", list_calls.runs(connection, entity, project), limit))
    return found


def _of_collection(connection: Connection, collection: records.Collection, limit: int) -> _Listing:
    if collection.registered:
        return _listing("links", list_calls.links(connection, collection.id), limit)
    return _listing("versions", list_calls.versions(connection, collection.id), limit)


def _listing(kind: str, items: Iterator[Record], limit: int) -> _Listing:
    try:
        return _Listing(kind, *some(items, limit))
    except errors.NotFound:  # no such project
        return _Listing(kind, [], False)


def _print_json(found: Sequence[_Listing]) -> None:
    # Scripts find the versions of a registered model where they find those of an artifact.
    lists = {
        "versions" if listing.kind == "links" else listing.kind: [
            records.as_json(item) for item in listing.items
        ]
        for listing in found
    }
    print_json({**lists, "more": any(listing.more for listing in found)})
