"""`modelyard exec`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from modelyard.contract.streams import echo
from modelyard.host.terminal import plural
from modelyard.stand_in import program, script_names

_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--check", is_flag=True, help="Say which names of W&B the scripts use that are lacking or differ."
)
@click.argument("command", metavar="-- COMMAND…", nargs=-1, required=True, type=click.UNPROCESSED)
def exec(command: tuple[str, ...], check: bool) -> None:
    """Run a program in which `import wandb` gives modelyard, e.g. `modelyard exec -- python train.py`.

    For programs and libraries that cannot be changed. The programs that it starts get the same;
    nothing is installed or changed, and W&B need not be there. The exit code is the program's, 127 where
    there is none, 126 where it cannot be run.

    With --check, COMMAND is scripts, or folders of them, which are read and not run. The exit code
    is 1 where a name is lacking or a file cannot be read.
    """
    if check:
        _check([Path(path) for path in command])
        return
    try:
        program.run(command)
    except FileNotFoundError:
        echo(f"modelyard: there is no program {command[0]}", err=True)
        raise click.exceptions.Exit(_NOT_FOUND) from None
    except OSError as error:
        echo(f"modelyard: {command[0]} cannot be run: {error.strerror}", err=True)
        raise click.exceptions.Exit(_NOT_EXECUTABLE) from None


def _check(paths: Sequence[Path]) -> None:
    results = [_is_complete(path) for path in script_names.scripts(paths)]
    if not all(results):
        raise click.exceptions.Exit(1)


def _is_complete(path: Path) -> bool:
    """Prints what is said of a script; whether it could be read and lacks nothing."""
    try:
        report = script_names.look_through(path)
    except SyntaxError as error:
        echo(f"Error: {path}:{error.lineno}: {error.msg}", err=True)
        return False
    except (OSError, UnicodeDecodeError) as error:
        echo(f"Error: {path}: {error}", err=True)
        return False
    for finding in report.findings:
        echo(f"{path}:{finding.line}: {finding.state}: {finding.name}: {finding.reason}")
    counts = [f"{report.count('lacking')} lacking"]
    counts += [f"{count} {state}" for state in ("differs", "unknown") if (count := report.count(state))]
    echo(f"{path}: {plural(len(report.names), 'name')} of wandb, {', '.join(counts)}")
    return report.count("lacking") == 0
