"""`login`, which stores the address of a server and the key for it; and what a server says of itself."""

from __future__ import annotations

from typing import Any

from modelyard.arguments import checked
from modelyard.configuration import addresses, credentials
from modelyard.configuration.settings import Settings, current, from_environment
from modelyard.host import terminal
from modelyard.rpc.connection import Connection, connect
from modelyard.rpc.records import ServerInfo
from modelyard.v1 import server_pb2 as pb


@checked
def login(
    key: str | None = None,
    host: str | None = None,
    relogin: bool | None = None,
    force: bool | None = None,
    timeout: int | None = None,
    **accepted: Any,
) -> bool:
    """Keeps an address and a key for later runs, in a file only this user can read.

    Without `key` it is that of MODELYARD_API_KEY, else the one kept for the same
    address. They are tried first: AuthenticationError for a key that the server
    does not take, CommError when it does not answer. Without arguments and without
    a server configured there is nothing to do: the embedded one needs no key; one that is
    given is not kept. With
    `MODELYARD_MODE=disabled` nothing is sent or kept.
    """
    if from_environment().mode == "disabled":
        return True
    kept = credentials.load()
    if key is None and host is None:
        if current().url is None:
            terminal.termlog("no server is configured: the embedded one on this machine needs no login")
        return True
    address = (host or current().url or "").strip()
    if not address:
        terminal.termlog(
            "no server is configured, so the key is not used: the embedded one on this machine needs none. "
            "A key belongs to a server: pass host= too, or set MODELYARD_URL"
        )
        return True
    addresses.parse(address)
    if key is None:
        # A stored key is used only for the address that it was stored with.
        key = from_environment().api_key or (kept.key if kept.host == address else "")
    secret = credentials.checked_key(key)
    found = check(address, secret)
    path = credentials.save(credentials.Credentials(address, secret))
    terminal.termlog(f"logged in to {address} as {found.principal}; kept in {path}")
    return True


def check(address: str, key: str) -> ServerInfo:
    """Asks the server once whether it takes the key. Errors: AuthenticationError, CommError."""
    return server_info(connect(Settings(url=address, api_key=key)))


def server_info(connection: Connection) -> ServerInfo:
    """The server's release, limits and services, and whom it takes the caller for."""
    reply = connection.server.GetServerInfo(pb.GetServerInfoRequest())
    caller = connection.server.GetCaller(pb.GetCallerRequest()).caller
    return ServerInfo(
        version=reply.version,
        principal=caller.principal,
        entity=caller.entity,
        services=tuple(reply.services),
        limits={field.name: value for field, value in reply.limits.ListFields()},
        chunking={field.name: value for field, value in reply.chunking.ListFields()},
        web_url=reply.web_url,
    )
