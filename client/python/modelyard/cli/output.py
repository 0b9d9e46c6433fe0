"""What commands print: tables that fit the terminal, or JSON for scripts."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from modelyard.contract.streams import echo, fitting
from modelyard.host.terminal import is_terminal

_F = TypeVar("_F", bound=Callable[..., Any])
_GAP = "  "
_NARROWEST = 6


def as_json(command: _F) -> _F:
    """Adds `--json` to a command."""
    return click.option("--json", "json", is_flag=True, help="Print JSON, for scripts.")(command)


def limited(command: _F) -> _F:
    """Adds `--limit` to a command that lists."""
    option = click.option(
        "--limit", type=click.IntRange(1), default=50, show_default=True, help="Most lines."
    )
    return option(command)


def without_asking(command: _F) -> _F:
    """Adds `--yes` to a command that asks before it deletes."""
    return click.option("--yes", is_flag=True, help="Do not ask on a terminal.")(command)


def confirm(question: str, yes: bool) -> None:
    """Asks on a terminal, unless `yes`; Abort when the answer is no. Scripts are not asked."""
    if not yes and is_terminal(sys.stdin) and is_terminal(sys.stdout):
        click.confirm(question, abort=True, err=True)


def coloured(text: str, colour: str | None = None, *, bold: bool = False) -> str:
    """Text in a colour; plain where the output is not a terminal or NO_COLOR is set."""
    return (
        text
        if os.environ.get("NO_COLOR") or not is_terminal(sys.stdout)
        else click.style(text, fg=colour, bold=bold or None)
    )


def print_rest(limit: int, more: bool, command: str = "") -> None:
    """Prints on stderr that there are more than the `limit` items that were listed.

    `command` is the one that has `--limit`, if it is not the one that runs.
    """
    if more:
        how = f"`{command} --limit {limit * 10}`" if command else f"--limit {limit * 10}"
        echo(f"The first {limit:,}; {how} shows more.", err=True)


def print_json(content: Any) -> None:
    """Prints JSON on stdout, on several lines."""
    print_json_text(content, indent=2)


def print_json_text(content: Any, indent: int | None = None) -> None:
    """Prints JSON; non-ASCII characters are escaped if the stream cannot encode one of them."""
    text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    if fitting(text, sys.stdout) != text:
        text = json.dumps(content, indent=indent, allow_nan=False)
    echo(text)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal at most; the widest columns are cut first."""
    width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else 10_000
    widths = fit([max(len(row[index]) for row in [head, *rows]) for index in range(len(head))], width)
    for number, row in enumerate([head, *rows]):
        cells = [_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)]
        line = _GAP.join(cells).rstrip()
        echo(line if number else coloured(line, bold=True))


def fit(widths: Sequence[int], total: int) -> list[int]:
    """Column widths that fit `total` characters, down to 6 each."""
    room = total - len(_GAP) * (len(widths) - 1)
    fitted = list(widths)
    while sum(fitted) > room and max(fitted) > _NARROWEST:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Names and values, one a line; those without a value are left out."""
    shown = [(name, value) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        lines = value.split("\n")
        echo(f"{name:<{width}}  {lines[0]}".rstrip())
        for line in lines[1:]:
            echo(f"{'':<{width}}  {line}".rstrip())


HIDDEN = "(not visible)"
"""Printed for the source of a link in an entity that the key may not read."""


def local_time(time: datetime.datetime | None) -> str:
    """A time in the local zone, to the minute; empty for None."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M") if time else ""


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
