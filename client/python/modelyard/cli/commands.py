"""The command group `modelyard`; each command is loaded when it is called."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

import click

from modelyard.version import __version__

_MODULES = {
    "alias": "aliases",
    "artifact": "artifacts",
    "completion": "access.account",
    "diff": "versions.diff",
    "exec": "exec",
    "history": "runs.history",
    "info": "access.account",
    "lineage": "versions.lineage",
    "link": "log_use_link",
    "log": "log_use_link",
    "login": "access.account",
    "ls": "ls_show",
    "model": "models",
    "open": "access.web",
    "run": "runs.commands",
    "search": "search",
    "show": "ls_show",
    "sync": "sync",
    "tag": "aliases",
    "use": "log_use_link",
    "watch": "watch",
    "web": "access.web",
}
"""The module of each command, loaded when the command is called: most need gRPC, which takes long to load."""
_SERVER_MISSING = 'the server is not installed. Install it: pip install "modelyard[server]"'


class _Commands(click.Group):
    """The SDK's commands, and `server` from the package that brings it."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "server":
            return _server()
        if cmd_name not in _MODULES:
            return None
        module = importlib.import_module(f"modelyard.cli.{_MODULES[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*_MODULES, "server"])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 not found, 141 output closed.",
)
@click.version_option(__version__, prog_name="modelyard")
def modelyard() -> None:
    """Keeps machine-learning models: log them, use them, link the ones worth using.

    A REF is [[entity/]project/]name[:alias|:vN]; without an alias it means :latest.
    """


def _server() -> click.Command:
    for entry in importlib.metadata.entry_points(group="modelyard.server", name="cli"):
        try:
            loaded: Any = entry.load()
        except ModuleNotFoundError as error:
            return _missing(f"{_SERVER_MISSING} ({error})")
        if isinstance(loaded, click.Command):
            return loaded
    return _missing(_SERVER_MISSING)


def _missing(text: str) -> click.Command:
    @click.command(
        "server",
        help='Runs the server: needs the extra "modelyard[server]".',
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def server() -> None:
        raise click.ClickException(text)

    return server
