"""`modelyard web` and `modelyard open`."""

from __future__ import annotations

import os
import sys
import webbrowser

import click

from modelyard.cli.lookup import open_thing
from modelyard.cli.output import as_json, print_json
from modelyard.configuration.settings import current
from modelyard.contract import errors
from modelyard.contract.streams import echo
from modelyard.local.v1 import local_pb2
from modelyard.query import page_addresses
from modelyard.rpc import project_calls
from modelyard.rpc.connection import Connection
from modelyard.v1 import server_pb2
from modelyard.workspace import Workspace

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
_REMOTE = ("SSH_CONNECTION", "SSH_TTY")


@click.command()
@click.option("--browser/--no-browser", default=True, help="Open a browser, where there is one.")
@as_json
def web(browser: bool, json: bool) -> None:
    """Open the server's page in a browser, and print its address.

    The server on this machine begins to serve its page with this command. The address
    signs in one browser within a minute; the server goes on while the page is open.
    """
    _show(Workspace(current()).connection, "/", browser=browser, json=json)


@click.command()
@click.argument("ref")
@click.option("--print", "only_print", is_flag=True, help="Print the address, and open no browser.")
@as_json
def open(ref: str, only_print: bool, json: bool) -> None:
    """Open the page of what REF means in a browser, and print its address.

    REF names a version, an artifact, a registered model, a run (entity/project/run_id) or a
    project (entity/project). The address is as that of `modelyard web`: of the server on this
    machine it signs in one browser within a minute.
    """
    workspace = Workspace(current())
    path = page_addresses.path_of(_named(workspace, ref))
    _show(workspace.connection, path, browser=not only_print, json=json)


def _named(workspace: Workspace, text: str) -> page_addresses.Thing:
    """What a REF means; of equal names a project comes last. Errors: NotFound, ValueError."""
    named = text.rstrip("/")
    try:
        return open_thing(workspace, named)
    except errors.NotFound as refusal:
        entity, _, project = named.rpartition("/")
        if "/" in entity or ":" in project:
            raise
        try:
            owner = entity or workspace.settings.entity or ""
            return project_calls.project(workspace.connection, owner, project)
        except (errors.NotFound, errors.InvalidField):
            raise refusal from None


def _show(connection: Connection, path: str, *, browser: bool, json: bool) -> None:
    """Prints the address of a path of the page, and opens it where `browser` and the machine allow it."""
    url = _address(connection, path)
    opened = browser and not json and _has_browser() and webbrowser.open(url)
    if json:
        print_json({"url": url})
        return
    echo(f"The page is open in a browser: {url}" if opened else f"Open the page: {url}")
    if not opened and connection.embedded_folder is not None:
        echo("The link works once, within a minute.", err=True)


def _address(connection: Connection, path: str) -> str:
    """The address of a path of the page. Raises CommError for a server without one."""
    if connection.embedded_folder is not None:
        return str(connection.local.OpenWeb(local_pb2.OpenWebRequest(path=path)).url)
    url: str = connection.server.GetServerInfo(server_pb2.GetServerInfoRequest()).web_url
    if not url:
        raise errors.CommError(
            f"the server at {connection.describe()} has no page: it was started without one, or is too old"
        )
    return url.rstrip("/") + path.rstrip("/")


def _has_browser() -> bool:
    """Whether a browser can show something to the user: not in CI, and not at the other end of SSH."""
    environment = os.environ
    if environment.get("CI"):
        return False
    if sys.platform in {"darwin", "win32"}:
        return not any(environment.get(name) for name in _REMOTE)
    # Elsewhere a browser without a display would be one in the terminal.
    return any(environment.get(name) for name in _DISPLAYS)
