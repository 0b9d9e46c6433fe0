"""`modelyard run …`: runs listed, shown, watched and deleted."""

from __future__ import annotations

import shutil
import sys

import click

from modelyard.cli import details
from modelyard.cli.lookup import open_run
from modelyard.cli.output import (
    as_json,
    coloured,
    confirm,
    limited,
    print_json,
    print_json_text,
    print_table,
    without_asking,
)
from modelyard.cli.runs.curves import Curves
from modelyard.cli.runs.live import follow
from modelyard.cli.tables import print_records
from modelyard.configuration.settings import current
from modelyard.contract.streams import echo
from modelyard.host.terminal import is_terminal, plural
from modelyard.public_runs.public_run import PublicRun
from modelyard.query.run_search import RunSearch
from modelyard.workspace import Workspace

_METRICS_SHOWN = 20
_PAGE = 200


@click.group()
def run() -> None:
    """List, show, watch and delete runs.

    A RUN is run_id, project/run_id or entity/project/run_id.
    """


@run.command("ls")
@click.argument("project", required=False, metavar="[[ENTITY/]PROJECT]")
@click.option("--filter", "condition", default="", help="Only what matches a filter.")
@click.option(
    "--order",
    default="-created_at",
    help="Field, with - in front or ` desc` after it for the largest first. Default: newest first.",
)
@limited
@as_json
def list_runs(project: str | None, condition: str, order: str, limit: int, json: bool) -> None:
    """List the runs of a PROJECT, by default of all.

    \b
    modelyard run ls digits --filter 'state = "finished" AND summary.acc > 0.9'
    modelyard run ls digits --order -summary.acc --limit 10
    """
    workspace = Workspace(current())
    owner, _, where = (project or "").strip("/").rpartition("/")
    entity = owner or workspace.settings.entity or ""
    found = RunSearch(workspace.connection, (entity, where), condition, order, min(_PAGE, limit + 1))
    print_records("runs", iter(found), limit, json)


@run.command()
@click.argument("name", metavar="RUN")
@click.option("--attempt", type=click.IntRange(1), help="An earlier attempt. Default: the latest.")
@as_json
def show(name: str, attempt: int | None, json: bool) -> None:
    """Show a run: state, config, summary, and the curve of each metric."""
    workspace = Workspace(current())
    found = open_run(workspace, name, attempt)
    earlier = found.attempts()[1:]
    if json:
        attempts = [{"attempt": each.attempt, "state": each.state} for each in earlier]
        content = details.to_json(workspace.connection, found._record)
        print_json({**content, "earlier_attempts": attempts})
        return
    details.print_run(workspace.connection, found._record)
    _print_curves(found)
    if earlier:
        echo()
        rows = [[str(each.attempt), each.state, str(each.lastHistoryStep)] for each in earlier]
        print_table(["ATTEMPT", "STATE", "LAST STEP"], rows)


@run.command()
@click.argument("name", metavar="RUN")
@click.option("--keys", default="", help="Only these metrics, separated by commas.")
@click.option("--json", "json", is_flag=True, help="Print a line of JSON for each row and each state.")
def watch(name: str, keys: str, json: bool) -> None:
    """Follow a run until it ends, or until Ctrl-C: its state, its metrics and its console.

    On a terminal the curves are redrawn in place, elsewhere there is a line for each row
    and for each line of the console. The exit code is 0 whatever became of the run.
    """
    follow(open_run(Workspace(current()), name), split_keys(keys), json)


@run.command()
@click.argument("name", metavar="RUN")
@click.option("--text", default="", help="Only lines that contain it, in upper or lower case.")
@click.option("--last", type=click.IntRange(1), help="Only so many lines of the end.")
@click.option("--attempt", type=click.IntRange(1), help="An earlier attempt. Default: the latest.")
@click.option("--json", "json", is_flag=True, help="Print a line of JSON for each line.")
def console(name: str, text: str, last: int | None, attempt: int | None, json: bool) -> None:
    """Print what a run wrote to its console: the last 10,000 lines, progress bars in their last state."""
    for line in open_run(Workspace(current()), name, attempt).console_lines(text, last):
        if json:
            print_json_text({**vars(line), "time": line.time.isoformat()})
        else:
            echo(_without_colours(f"{line.process + ': ' if line.process else ''}{line.text}"))


@run.command("rm")
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option("--artifacts", is_flag=True, help="Delete the versions it logged too, with their aliases.")
@without_asking
@as_json
def remove(names: tuple[str, ...], artifacts: bool, yes: bool, json: bool) -> None:
    """Delete runs with their metrics. Versions that they logged stay, unless --artifacts is given."""
    workspace = Workspace(current())
    found = [open_run(workspace, name) for name in names]  # all of them, before one is deleted
    extent = "with the versions they logged" if artifacts else "with their metrics"
    confirm(f"Delete {plural(len(found), 'run')} {extent}?", yes)
    for each in found:
        each.delete(delete_artifacts=artifacts)
        if not json:
            echo(f"Deleted {'/'.join(each.path)}")
    if json:
        print_json({"deleted": ["/".join(each.path) for each in found]})


def split_keys(text: str) -> list[str]:
    """The names in `a,b`."""
    return [key.strip() for key in text.split(",") if key.strip()]


def _without_colours(text: str) -> str:
    """The text as it is for a terminal that shows colours, plain for others."""
    return text if coloured(" ", bold=True) != " " else click.unstyle(text)


def _print_curves(found: PublicRun) -> None:
    curves = Curves()
    curves.load(found, _METRICS_SHOWN)
    width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else 100
    lines = curves.lines(width, _METRICS_SHOWN)
    if lines:
        echo()
    for line in lines:
        echo(line)
