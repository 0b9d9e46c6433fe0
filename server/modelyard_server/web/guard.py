"""Checks where requests come from before any application sees them, and adds headers to each response.

Three things are prevented. A page of another site sends requests with the
session of the user (cross-site request forgery): such requests are refused by
what browsers say about their origin. A page of another site gives its own name
the address of this server (DNS rebinding): the name in `host` must be one of
the server's. Content of users runs as part of the page: Content-Security-Policy.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from modelyard.contract.transport import AUTHORIZATION, is_loopback, key_of
from modelyard_server.web import asgi
from modelyard_server.web.asgi import App, Headers, Receive, Scope, Send
from modelyard_server.web.cookies import session_in

SECURITY_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; media-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""Of every response that does not set them itself."""

_SAME_ORIGIN = {"same-origin", "none"}
"""Values of `sec-fetch-site` for requests of the page, and for addresses that the user typed."""


@dataclass(frozen=True)
class Names:
    """The names that the server is reached by.

    With `only_these`, other names are refused, except for addresses in numbers and
    `localhost`: no name server can make those point elsewhere.
    """

    names: frozenset[str] = frozenset()
    only_these: bool = True

    def accepts(self, host: str) -> bool:
        """Whether a request with this `host` is meant for the server."""
        name = urlsplit(f"//{host}").hostname if host else None
        if not self.only_these:
            return bool(name)
        return name is not None and (name in self.names or is_loopback(name) or _is_address(name))


class Guard:
    """An ASGI application that passes on to `app` the requests that may be served.

    It puts the token of a session into the scope where the request may use it. `is_secure` says that
    browsers reach the server over TLS; `origin` is where they do, if it is not what `host` says.
    """

    def __init__(self, app: App, names: Names, *, is_secure: bool, origin: str = "") -> None:
        self._app = app
        self._names = names
        self._is_secure = is_secure
        self._origin = origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = _with_security_headers(send)
        headers = asgi.headers_of(scope)
        host = asgi.first(headers, "host").lower()
        if not _has_host(self._names, host):
            text = f"{host[:200]!r} is not a name of this server; --web-host adds names"
            await asgi.answer_text(guarded, 421, text)
            return
        if self._is_foreign(headers, host) and not _opens_a_page(scope, headers):
            await asgi.answer_text(guarded, 403, "requests of other sites are refused")
            return
        token = "" if _has_key(headers) else session_in(headers, host, is_secure=self._is_secure)
        if token and not (scope["method"] in asgi.SAFE_METHODS or self._is_of_page(headers, host)):
            await asgi.answer_text(guarded, 403, "a session is for requests of this server's own page")
            return
        scope[asgi.SESSION] = token
        await self._app(scope, receive, guarded)

    def _is_foreign(self, headers: Headers, host: str) -> bool:
        """Whether a browser says that another site made the request."""
        site, origin = asgi.first(headers, "sec-fetch-site"), asgi.first(headers, "origin")
        return (site != "" and site not in _SAME_ORIGIN) or (origin != "" and not self._is_own(origin, host))

    def _is_of_page(self, headers: Headers, host: str) -> bool:
        """Whether a browser says that this server's page made the request."""
        site, origin = asgi.first(headers, "sec-fetch-site"), asgi.first(headers, "origin")
        return site == "same-origin" or (site == "" and self._is_own(origin, host))

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, separator, place = origin.lower().partition("://")
        if not separator or scheme not in {"http", "https"}:
            return False
        return place == host or (self._origin != "" and origin.lower() == self._origin)


def _has_host(names: Names, host: str) -> bool:
    try:
        return names.accepts(host)
    except ValueError:  # not a host at all
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _opens_a_page(scope: Scope, headers: Headers) -> bool:
    """Whether a link of another site leads to a view of the page, which shows nothing by itself."""
    return (
        scope["method"] in asgi.SAFE_METHODS
        and asgi.first(headers, "sec-fetch-mode") == "navigate"
        and asgi.first(headers, "sec-fetch-dest") == "document"
        and not asgi.first(headers, "origin")
        and not scope["path"].startswith(("/files/", "/session"))
    )


def _has_key(headers: Headers) -> bool:
    return key_of(asgi.first(headers, AUTHORIZATION)) is not None


def _with_security_headers(send: Send) -> Send:
    async def sending(event: asgi.Event) -> None:
        if event["type"] == "http.response.start":
            names = {name for name, _ in event["headers"]}
            event["headers"] += [
                (name.encode(), value.encode())
                for name, value in SECURITY_HEADERS.items()
                if name.encode() not in names
            ]
        await send(event)

    return sending
