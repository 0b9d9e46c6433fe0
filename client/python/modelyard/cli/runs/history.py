"""`modelyard history`: the rows of a run as curves and a table, as CSV or as JSON."""

from __future__ import annotations

import csv
import io
import itertools
import json as json_module
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from modelyard.cli.lookup import open_run
from modelyard.cli.output import print_json_text, print_table
from modelyard.cli.runs.commands import split_keys
from modelyard.cli.runs.curves import Curves
from modelyard.configuration.settings import current
from modelyard.contract.streams import echo
from modelyard.contract.values import to_json
from modelyard.host.terminal import is_terminal
from modelyard.public_runs.sampling import sample
from modelyard.rpc import metric_scan
from modelyard.rpc.metric_scan import AUTOMATIC
from modelyard.runs.report import short_text
from modelyard.workspace import Workspace

_SAMPLES = 500
_ROWS_SHOWN = 20
_METRICS_SHOWN = 20

Row = dict[str, Any]


@click.command()
@click.argument("name", metavar="RUN")
@click.option("--keys", default="", help="Only these metrics, separated by commas. Default: all.")
@click.option(
    "--samples", type=click.IntRange(1), help="Rows with the extremes. Default of CSV and JSON: all."
)
@click.option("--system", is_flag=True, help="The metrics of its machine.")
@click.option("--attempt", type=click.IntRange(1), help="An earlier attempt. Default: the latest.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a head.")
@click.option("--json", "json", is_flag=True, help="Print a line of JSON for each row.")
def history(
    name: str,
    keys: str,
    samples: int | None,
    system: bool,
    attempt: int | None,
    as_csv: bool,
    json: bool,
) -> None:
    """Show the metrics of a RUN: a curve for each, and a table of some rows.

    A row that lacks some of the --keys has empty cells. NaN and infinities are written
    nan, inf and -inf in CSV.
    """
    if as_csv and json:
        raise click.UsageError("give --csv or --json, not both")
    workspace = Workspace(current())
    source = open_run(workspace, name, attempt)._source(system=system)
    wanted = split_keys(keys)

    def rows(most: int | None) -> Iterable[Row]:
        found = metric_scan.batches(workspace.connection, source, wanted, any_key=True)
        return _sorted(sample(found, most, by_time=system)) if most else _all(found)

    if json:
        for row in rows(samples):
            print_json_text(to_json(row))
    elif as_csv:
        _print_csv(wanted or _keys(rows(samples)), rows(samples))
    else:
        _print_text(list(rows(samples or _SAMPLES)), wanted)


def _all(batches: Iterable[metric_scan.Batch]) -> Iterable[Row]:
    return (row for batch in batches for row in batch.rows())


def _sorted(rows: Iterable[Row]) -> list[Row]:
    return sorted(
        (row for row in rows if row.keys() - {*AUTOMATIC}), key=lambda row: (row["_step"], row["_timestamp"])
    )


def _keys(rows: Iterable[Row]) -> list[str]:
    """The metrics of rows, by name."""
    return sorted({key for row in rows for key in row} - {*AUTOMATIC})


def _print_csv(keys: Sequence[str], rows: Iterable[Row]) -> None:
    # One row at a time: the reader may take only the first ones, and a history may be long.
    head = list(dict.fromkeys([*AUTOMATIC, *keys]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="")
    for cells in itertools.chain([head], ([_cell(row.get(key)) for key in head] for row in rows)):
        writer.writerow(cells)
        echo(text.getvalue())
        text.seek(0)
        text.truncate()


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json_module.dumps(to_json(value), ensure_ascii=False)
    return "" if value is None else value


def _print_text(rows: Sequence[Row], wanted: Sequence[str]) -> None:
    if not rows:
        echo("No rows.", err=True)
        return
    curves = Curves(wanted)
    curves.add(rows)
    on_terminal = is_terminal(sys.stdout)
    for line in curves.lines(shutil.get_terminal_size().columns if on_terminal else 100, _METRICS_SHOWN):
        echo(line)
    echo()
    keys = list(dict.fromkeys(wanted)) or sorted(curves.by_key)
    shown = (
        [rows[index * (len(rows) - 1) // (_ROWS_SHOWN - 1)] for index in range(_ROWS_SHOWN)]
        if len(rows) > _ROWS_SHOWN
        else rows
    )
    keys = keys[:_METRICS_SHOWN]
    cells = [
        [str(row["_step"]), *(short_text(row[key]) if key in row else "" for key in keys)] for row in shown
    ]
    print_table(["STEP", *keys], cells)
    if len(shown) < len(rows):
        echo(f"{len(shown)} of {len(rows)} rows; --csv and --json print all.", err=True)
