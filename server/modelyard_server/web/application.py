"""Joins what the HTTP port serves, by the path of a request: calls, sessions, files and the page."""

from __future__ import annotations

from urllib.parse import urlsplit

from modelyard_server.rpc.dispatch.auth import Authenticator
from modelyard_server.rpc.dispatch.pipeline import Pipeline
from modelyard_server.rpc.dispatch.transactions import Transactions
from modelyard_server.settings import Settings
from modelyard_server.web import asgi, connect, pipeline_methods, sessions
from modelyard_server.web.asgi import App, Receive, Scope, Send
from modelyard_server.web.codes import Codes
from modelyard_server.web.files import PREFIX, Files
from modelyard_server.web.guard import Guard, Names
from modelyard_server.web.sessions import Door, Sessions
from modelyard_server.web.site import Site

CALLS = "/modelyard."
"""Begins the path of every call."""


def build(
    settings: Settings,
    pipeline: Pipeline,
    authenticator: Authenticator,
    transactions: Transactions,
    codes: Codes,
) -> App:
    """The application for the HTTP port of a server."""
    door = door_of(settings)
    routes = _routed(
        connect.connect_app(pipeline_methods.of(pipeline)),
        Sessions(authenticator, transactions, door, codes),
        Files(pipeline),
        Site(settings.page),
    )
    origin = settings.web_url.rstrip("/").lower()
    return Guard(routes, names_of(settings), is_secure=door.is_secure, origin=origin)


def door_of(settings: Settings) -> Door:
    """How browsers reach a server with these settings."""
    is_secure = settings.tls_cert is not None or settings.web_behind_proxy
    if settings.embedded:
        return Door("link", is_secure=False)
    return Door("key" if is_secure or settings.loopback else "https", is_secure, settings.web_behind_proxy)


def names_of(settings: Settings) -> Names:
    """The names that a server with these settings is reached by.

    They are checked where a page of another site could use the server without a key, and where the
    operator names them.
    """
    public = urlsplit(settings.web_url).hostname
    names = {name.lower() for name in (*settings.web_host, settings.host, public) if name}
    only_these = settings.loopback or settings.no_auth or bool(settings.web_host)
    return Names(frozenset(names), only_these)


def _routed(calls: App, signing: App, files: App, site: App) -> App:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if not path.startswith("/"):
            await asgi.answer_text(send, 404, "no such path")
        elif path in sessions.PATHS:
            await signing(scope, receive, send)
        elif path.startswith(PREFIX):
            await files(scope, receive, send)
        elif path.startswith(CALLS) or scope["method"] == "POST":
            await calls(scope, receive, send)
        else:
            await site(scope, receive, send)

    return serve
