"""`modelyard sync`."""

from __future__ import annotations

from pathlib import Path

import click

from modelyard.cli.output import as_json, print_json
from modelyard.contract import errors
from modelyard.contract.streams import echo
from modelyard.host.terminal import plural
from modelyard.runs.report import view_line
from modelyard.runs.summary_replay import ReplayedSummary
from modelyard.spool import folders
from modelyard.spool.folders import RunFolder
from modelyard.sync import left_behind


@click.command()
@click.argument("paths", metavar="[DIR]…", nargs=-1, type=click.Path(path_type=Path))
@as_json
def sync(paths: tuple[Path, ...], json: bool) -> None:
    """Send what runs left in their folders: DIR is the folder of a run, or one that holds such folders.

    Default: ./modelyard. What was sent before is not sent again, so the command may be
    interrupted and repeated. A run whose process was killed ends as crashed. Runs that
    go on are left to their own processes; of offline ones what is there is sent.
    """
    found = [folder for path in paths or (Path(),) for folder in folders.below(path)]
    waiting = [folder for folder in found if not folder.is_sent]
    if not waiting:
        echo(
            f"Nothing to send; {plural(len(found), 'run')} sent before." if found else "Nothing to send.",
            err=True,
        )
    results, failures = [], 0
    for folder in waiting:
        try:
            results.append(_sent(folder, json))
        except left_behind.InUse as error:
            echo(str(error), err=True)
        except (errors.Error, OSError) as error:
            failures += 1
            echo(f"Error: {folder.path}: {error}", err=True)
    if json:
        print_json(results)
    if failures:
        raise click.exceptions.Exit(1)


def _sent(folder: RunFolder, json: bool) -> dict[str, object]:
    done = left_behind.send(folder, ReplayedSummary)
    if not json:
        counts = [
            (done.rows, "row", "sent"),
            (done.rows_dropped, "row", "dropped"),
            (done.calls, "call", "about artifacts made"),
            (done.calls_refused, "call", "about artifacts refused"),
        ]
        parts = [f"{plural(count, noun)} {what}" for count, noun, what in counts if count]
        echo(f"{done.path}: {', '.join(parts) or 'nothing was left'}; the run is {done.state}")
        if done.url:
            echo(view_line(done.url), err=True)
    return {"folder": str(folder.path), **vars(done)}
