"""`modelyard lineage`."""

from __future__ import annotations

import click

from modelyard.cli.lookup import open_thing, open_version
from modelyard.cli.output import as_json, print_json
from modelyard.configuration.settings import current
from modelyard.contract import errors
from modelyard.contract.streams import echo
from modelyard.query import lineage_calls
from modelyard.query.lineage import Lineage
from modelyard.rpc import records
from modelyard.workspace import Workspace


@click.command()
@click.argument("ref")
@click.option("--depth", type=click.IntRange(1, 32), default=2, show_default=True, help="Most steps.")
@click.option(
    "--direction",
    type=click.Choice(["both", "upstream", "downstream"]),
    default="both",
    show_default=True,
    help="Towards what it was made from, or what was made from it.",
)
@click.option("--dot", "form", flag_value="dot", help="Print Graphviz's DOT.")
@click.option("--mermaid", "form", flag_value="mermaid", help="Print a Mermaid flowchart.")
@as_json
def lineage(ref: str, depth: int, direction: str, form: str | None, json: bool) -> None:
    """Show which runs made and used what, around a version REF or a run ([[entity/]project/]run_id).

    From a run to a version is one step. Deleted runs and versions are shown too.
    """
    graph = _around(Workspace(current()), ref, depth, direction)
    if json:
        print_json(graph.to_json())
    elif form == "dot":
        echo(graph.to_dot())
    elif form == "mermaid":
        echo(graph.to_mermaid())
    else:
        echo(str(graph))


def _around(workspace: Workspace, ref: str, depth: int, direction: str) -> Lineage:
    try:
        version, _ = open_version(workspace, ref)
    except errors.NotFound:
        thing = open_thing(workspace, ref)
        if not isinstance(thing, records.RunRecord):
            raise
        return lineage_calls.around(workspace.connection, run_id=thing.id, depth=depth, direction=direction)
    return lineage_calls.around(workspace.connection, version_id=version.id, depth=depth, direction=direction)
