"""The cookie that holds the token of a session."""

from __future__ import annotations

from modelyard_server.web.asgi import Headers

_SECURE_NAME = "__Host-modelyard"
"""Browsers take this name only with Secure, for this host alone and from no other."""
_NAME = "modelyard-"
"""Begins the name over plain HTTP. The port follows: cookies are shared by all ports of a host."""


def session_in(headers: Headers, host: str, *, is_secure: bool) -> str:
    """The token in the cookies of a request; empty without one, and where there are several."""
    name = _name(host, is_secure=is_secure)
    pairs = [
        pair.strip().partition("=") for key, value in headers if key == "cookie" for pair in value.split(";")
    ]
    found = {value for key, _, value in pairs if key == name}
    return found.pop() if len(found) == 1 else ""


def setting(token: str, host: str, *, is_secure: bool) -> tuple[str, str]:
    """The header that gives a browser a token. It is kept until the browser ends."""
    return "set-cookie", f"{_name(host, is_secure=is_secure)}={token}{_attributes(is_secure=is_secure)}"


def clearing(host: str, *, is_secure: bool) -> tuple[str, str]:
    """The header that takes the token away again."""
    return "set-cookie", f"{_name(host, is_secure=is_secure)}={_attributes(is_secure=is_secure)}; Max-Age=0"


def _name(host: str, *, is_secure: bool) -> str:
    if is_secure:
        return _SECURE_NAME
    port = host.rpartition(":")[2]
    return f"{_NAME}{port if port.isdecimal() else '80'}"


def _attributes(*, is_secure: bool) -> str:
    return "; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if is_secure else "")
