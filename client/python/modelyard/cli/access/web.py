"""`modelyard web`."""

from __future__ import annotations

import os
import sys
import webbrowser

import click

from modelyard.cli.output import as_json, print_json
from modelyard.configuration.settings import current
from modelyard.contract import errors
from modelyard.contract.streams import echo
from modelyard.local.v1 import local_pb2
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
    url = _address(Workspace(current()).connection)
    opened = browser and not json and _has_browser() and webbrowser.open(url)
    if json:
        print_json({"url": url})
    else:
        echo(f"The page is open in a browser: {url}" if opened else f"Open the page: {url}")


def _address(connection: Connection) -> str:
    """The page's address. Raises CommError for a server without one."""
    if connection.embedded_folder is not None:
        return str(connection.local.OpenWeb(local_pb2.OpenWebRequest()).url)
    url: str = connection.server.GetServerInfo(server_pb2.GetServerInfoRequest()).web_url
    if not url:
        raise errors.CommError(
            f"the server at {connection.describe()} has no page: it was started without one, or is too old"
        )
    return url


def _has_browser() -> bool:
    """Whether a browser can show something to the user: not in CI, and not at the other end of SSH."""
    environment = os.environ
    if environment.get("CI"):
        return False
    if sys.platform in {"darwin", "win32"}:
        return not any(environment.get(name) for name in _REMOTE)
    # Elsewhere a browser without a display would be one in the terminal.
    return any(environment.get(name) for name in _DISPLAYS)
