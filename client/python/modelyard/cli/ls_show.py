"""`modelyard ls` and `modelyard show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import click

from modelyard.cli import details
from modelyard.cli.output import as_json, print_json, print_table
from modelyard.cli.tables import table
from modelyard.configuration.settings import Settings, current
from modelyard.contract import errors, refs
from modelyard.contract.streams import echo

if TYPE_CHECKING:
    from modelyard.rpc import records
    from modelyard.rpc.connection import Connection

_T = TypeVar("_T")
_Lists = Mapping[str, Sequence["records.Version | records.Link | records.Collection | records.RunRecord"]]


@click.command()
@click.argument("what", required=False, metavar="[PROJECT|MODEL]")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most lines of a kind.")
@as_json
def ls(what: str | None, limit: int, json: bool) -> None:
    """List artifacts and registered models; of a PROJECT also its runs; of a MODEL its versions.

    PROJECT is [entity/]project, MODEL [[entity/]project/]name.
    """
    from modelyard.rpc import records
    from modelyard.rpc.connection import connect

    settings = current()
    connection = connect(settings)
    text = (what or "").rstrip("/")
    lists: _Lists = {} if text.count("/") == 2 else _project(connection, settings, text, limit)
    if text and not any(lists.values()):
        lists = {"versions": _versions(connection, settings, text, limit)}
    if json:
        print_json({kind: [records.as_json(item) for item in items] for kind, items in lists.items()})
        return
    for number, kind in enumerate(kind for kind, items in lists.items() if items):
        if number:
            echo()
        print_table(*table(kind, lists[kind]))
    if not any(lists.values()):
        echo("Nothing yet. `modelyard log PATH --name NAME` keeps a first model.", err=True)


@click.command()
@click.argument("ref")
@as_json
def show(ref: str, json: bool) -> None:
    """Show a version, an artifact, a registered model, or a run (entity/project/run_id)."""
    from modelyard.cli.names import open_thing
    from modelyard.rpc import records
    from modelyard.rpc.connection import connect

    settings = current()
    connection = connect(settings)
    thing = open_thing(connection, settings, ref)
    if json:
        print_json(details.for_scripts(connection, thing))
    elif isinstance(thing, records.RunRecord):
        details.print_run(thing)
    elif isinstance(thing, records.Collection):
        details.print_collection(connection, thing)
        print_table(*table("versions", _of_collection(connection, thing, 50)))
    elif isinstance(thing, records.Link):
        details.print_link(connection, thing)
    else:
        details.print_version(connection, thing)


def _project(connection: Connection, settings: Settings, text: str, limit: int) -> _Lists:
    from modelyard.rpc import list_calls

    entity, project = ["", *text.split("/")][-2:]
    entity = entity or settings.entity or ""
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
    except errors.NotFound:  # no such project: it holds nothing
        return []


def _versions(
    connection: Connection, settings: Settings, text: str, limit: int
) -> Sequence[records.Version | records.Link]:
    from modelyard.cli.names import absent, find_thing

    ref = refs.parse(text)
    found = find_thing(connection, settings, ref)
    if found is None:
        raise absent(connection, settings, ref, "project, artifact or registered model")
    return _of_collection(connection, found, limit)


def _of_collection(
    connection: Connection, collection: records.Collection, limit: int
) -> Sequence[records.Version | records.Link]:
    from modelyard.rpc import list_calls

    if collection.registered:
        return list(islice(list_calls.links(connection, collection.id), limit))
    return list(islice(list_calls.versions(connection, collection.id), limit))
