"""`modelyard search`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from modelyard.cli.output import as_json, limited
from modelyard.cli.tables import Record, print_records
from modelyard.configuration.settings import current
from modelyard.rpc import list_calls
from modelyard.workspace import Workspace

KINDS = ("versions", "artifacts", "models", "links", "runs")


@click.command()
@click.argument("condition", metavar="FILTER")
@click.option("--project", default="", help="Project or registry, or entity/project. Default: all.")
@click.option("--kind", type=click.Choice(KINDS), default=KINDS[0], show_default=True, help="What to find.")
@click.option("--order", default="", help="Field, with ` desc` after it for the largest first.")
@limited
@as_json
def search(condition: str, project: str, kind: str, order: str, limit: int, json: bool) -> None:
    """Find what matches a FILTER: by default versions, in all projects.

    \b
    modelyard search 'metadata.acc >= 0.9 AND NOT tags : "old"' --order 'metadata.acc desc'
    modelyard search 'run.config.lr < 0.01' --project digits
    modelyard search 'aliases : "production"' --kind links
    modelyard search 'state = "failed"' --kind runs --project digits

    Operators: = != < <= > >= and : (contains), AND, OR, NOT, ( ). Text goes in quotes.
    """
    workspace = Workspace(current())
    owner, _, where = project.strip("/").rpartition("/")
    entity = owner or workspace.settings.entity or ""
    connection = workspace.connection
    found: Iterator[Record]
    if kind == "versions":
        found = list_calls.versions(connection, "", condition, order, entity=entity, project=where)
    elif kind == "links":
        found = list_calls.links(connection, "", condition, order, entity=entity, project=where)
    elif kind == "artifacts":
        found = list_calls.artifacts(connection, entity, where, condition, order)
    elif kind == "models":
        found = list_calls.registered_models(connection, entity, where, condition, order)
    else:
        found = list_calls.runs(connection, entity, where, condition, order)
    print_records("registered_models" if kind == "models" else kind, found, limit, json, full=True)
