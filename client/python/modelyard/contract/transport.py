"""What client and server agree on around their messages: port, metadata keys, the data folder's files."""

from __future__ import annotations

import ipaddress

DEFAULT_PORT = 7600
AUTHORIZATION = "authorization"
"""Metadata key of the caller's API key; see `bearer`."""
TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
"""Metadata keys of W3C Trace Context."""
ERROR_DOMAIN = "modelyard"
"""`domain` of every `google.rpc.ErrorInfo` that a server of this project sends."""

SERVER_FILE = "server.json"
"""In a data folder: socket and token of the embedded server that holds it."""
SERVER_LOG = "server.log"
"""In a data folder: what its embedded server printed."""
SPAWN_LOCK = "spawn.lock"
"""In a data folder: locked by a client while it starts the embedded server."""

_BEARER = "Bearer "


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    """The metadata that carries an API key; empty without a key."""
    return ((AUTHORIZATION, f"{_BEARER}{key}"),) if key else ()


def key_of(authorization: str) -> str | None:
    """The API key in the value of `authorization`; None where it is not `Bearer KEY`."""
    scheme, space, key = authorization.partition(" ")
    return key.strip() if space and scheme.lower() == "bearer" and key.strip() else None


def is_loopback(host: str) -> bool:
    """Whether a host name or address, with or without brackets, means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
