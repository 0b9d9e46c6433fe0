"""The command `modelyard`."""

from __future__ import annotations

import click

from modelyard.cli.commands import modelyard
from modelyard.contract import errors, streams
from modelyard.contract.streams import echo

__all__ = ["main"]

EXIT_ERROR = 1
EXIT_NOT_FOUND = 3


def main(arguments: list[str] | None = None) -> None:
    """Runs the command and ends the process: 0 done, 1 error, 2 wrong usage, 3 not found.

    141, without a message, when the reader of its output has closed the pipe.
    """
    streams.run_process(lambda: run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code. Errors are one line on stderr."""
    try:
        # Without standalone mode click returns the code of `ctx.exit` as the value.
        result = modelyard.main(arguments, prog_name="modelyard", standalone_mode=False)
    except streams.OutputClosed:
        return streams.EXIT_PIPE
    except SystemExit:
        # click exits when the pipe of its own output, such as a help text, is closed.
        return streams.EXIT_PIPE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return _failed("stopped", EXIT_ERROR)
    except errors.NotFound as error:
        # No hint where the message names a command or a similar name already.
        hint = "" if "`" in str(error) or "?" in str(error) else ". `modelyard ls` shows what there is"
        return _failed(f"{error}{hint}", EXIT_NOT_FOUND)
    except (errors.VersionHasAliases, errors.VersionLinked) as error:
        linked = isinstance(error, errors.VersionLinked)
        unlink = "`modelyard model rm MODEL:vN` unlinks it, " if linked else ""
        return _failed(f"{error}. {unlink}--force deletes it anyway", EXIT_ERROR)
    except errors.AliasChanged as error:
        return _failed(f"{error}. `modelyard model history` shows who moved it", EXIT_ERROR)
    except errors.InvalidFilter as error:
        sentence = str(error).partition("\n")[0]
        return _failed(f"{sentence}. `modelyard search --help` shows filters", EXIT_ERROR)
    except errors.AuthenticationError as error:
        # The server's message about a missing key names the command itself.
        hint = "" if "`modelyard login`" in str(error) else ". `modelyard login` keeps another one"
        return _failed(f"{error}{hint}", EXIT_ERROR)
    except (errors.Error, ValueError, AssertionError, OSError) as error:
        return _failed(str(error), EXIT_ERROR)
    return result if isinstance(result, int) else 0


def _failed(text: str, code: int) -> int:
    echo(f"modelyard: {text}", err=True)
    return code
