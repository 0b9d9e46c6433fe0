"""`modelyard login` and `modelyard completion`."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from modelyard.cli.output import as_json, print_json
from modelyard.configuration import credentials
from modelyard.configuration.settings import current, from_environment
from modelyard.contract.streams import echo
from modelyard.host import terminal
from modelyard.host.terminal import is_terminal
from modelyard.rpc.login import login as keep
from modelyard.rpc.login import server_info
from modelyard.runs.tracking import describe_server
from modelyard.workspace import Workspace


@click.command()
@click.argument("key", required=False)
@click.option("--host", help="Address of the server, such as grpcs://models.example.org:443.")
@click.option("--forget", is_flag=True, help="Delete what was saved.")
@as_json
def login(key: str | None, host: str | None, forget: bool, json: bool) -> None:
    """Save the address of a server and the KEY for it, in a file that only you can read.

    KEY - reads it from standard input. Without KEY, MODELYARD_API_KEY is used; else with
    --host on a terminal you are asked for it. Address and key are tried before they are saved.
    """
    if forget:
        there = credentials.forget()
        _say({"forgotten": there}, "forgotten" if there else "nothing was kept", json)
        return
    if key is not None and not host and not current().url:
        raise click.UsageError("a key belongs to a server: give --host too, or set MODELYARD_URL")
    terminal.silence(json or None)
    if key == "-":
        key = sys.stdin.readline()
    elif key is not None:
        terminal.termwarn(
            "every user of this machine can read a key among a command's arguments, and the shell keeps it: "
            "set MODELYARD_API_KEY, or give - and the key on standard input"
        )
    elif host and is_terminal(sys.stdin) and not from_environment().api_key:
        key = click.prompt("API key (empty: none)", default="", show_default=False, hide_input=True)
    done = keep(key=key, host=host)
    if json:
        print_json(
            {"logged_in": done, "host": credentials.load().host, "file": str(credentials.config_file())}
        )


@click.command()
@as_json
def info(json: bool) -> None:
    """Print which server is used, its release and limits, and whom it takes you for."""
    connection = Workspace(current()).connection
    found = server_info(connection)
    if json:
        print_json({"server": connection.describe(), **vars(found)})
        return
    echo(f"modelyard {found.version}: {describe_server(connection)}")
    echo(f"You are {found.principal}; your default entity is {found.entity}")
    if found.web_url:
        echo(f"Its page is at {found.web_url}")
    for name, value in found.limits.items():
        echo(f"  {name:<24} {value:>20,}")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL.

    bash: eval "$(modelyard completion bash)" in ~/.bashrc; zsh likewise in
    ~/.zshrc; fish: modelyard completion fish > ~/.config/fish/completions/modelyard.fish
    """
    shell_complete = get_completion_class(shell)
    if shell_complete is None:
        raise click.ClickException(f"no completion for {shell}")
    completer = shell_complete(
        click.get_current_context().find_root().command, {}, "modelyard", "_MODELYARD_COMPLETE"
    )
    # Not `completer.source()`: it asks the shell for its version, and fails where it is not installed.
    echo(completer.source_template % completer.source_vars())


def _say(content: dict[str, object], text: str, json: bool) -> None:
    if json:
        print_json(content)
    else:
        echo(text)
