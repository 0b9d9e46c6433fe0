"""`modelyard diff`."""

from __future__ import annotations

import click

from modelyard.cli.lookup import open_version
from modelyard.cli.output import as_json, print_json
from modelyard.configuration.settings import current
from modelyard.contract.streams import echo
from modelyard.query import comparison_calls
from modelyard.workspace import Workspace


@click.command()
@click.argument("base")
@click.argument("ref")
@click.option("--path-prefix", default="", help="Only files whose path starts with it.")
@as_json
def diff(base: str, ref: str, path_prefix: str, json: bool) -> None:
    """Show what changed from version BASE to version REF.

    Files that were added (+), removed (-) and changed (~) with their sizes, the bytes that both versions
    share by their chunks, the metadata, and the results of the runs that made them.
    """
    workspace = Workspace(current())
    before, _ = open_version(workspace, base)
    after, _ = open_version(workspace, ref)
    found = comparison_calls.compare(workspace.connection, after, before, path_prefix)
    if json:
        print_json(found.to_json())
    else:
        echo(str(found))
