"""Addresses of servers: parsed to endpoints."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from modelyard.configuration.certificates import PUBLIC, Certificates
from modelyard.contract.transport import DEFAULT_PORT, is_loopback

_PLAIN = {"grpc", "http"}
_TLS = {"grpcs", "https"}
_PORTS = {"http": 80, "https": 443}
_SOCKET = "unix:"


@dataclass(frozen=True)
class Endpoint:
    """Where calls go. `target` is `host:port` or `unix:/path`; an empty token is not sent."""

    target: str
    tls: bool
    token: str = ""
    certificates: Certificates = PUBLIC

    def __repr__(self) -> str:
        return f"Endpoint({self})"

    def __str__(self) -> str:
        return self.target if self.is_socket else f"{'grpcs' if self.tls else 'grpc'}://{self.target}"

    @property
    def is_socket(self) -> bool:
        """Whether it is a Unix socket."""
        return self.target.startswith(_SOCKET)

    @property
    def host(self) -> str:
        """The host, without brackets; empty for a socket."""
        return "" if self.is_socket else self.target.rpartition(":")[0].strip("[]")

    @property
    def stays_here(self) -> bool:
        """Whether the traffic stays on this machine."""
        return self.is_socket or is_loopback(self.host)


def parse(address: str, token: str = "", certificates: Certificates = PUBLIC) -> Endpoint:
    """The endpoint of an address: `grpc://` and `http://` are plain, `grpcs://` and `https://` TLS.

    A bare `host:port` is plain on loopback, else TLS. Without a port: 80 and
    443 for http and https, else 7600. `unix:/path` is a Unix socket.
    Errors: ValueError.
    """
    text = address.strip()
    if text.startswith(_SOCKET):
        path = os.fsdecode(unquote_to_bytes(text.removeprefix(_SOCKET).removeprefix("//")))
        if not path.startswith("/"):
            raise ValueError(f"{address!r}: a socket's address is unix: and an absolute path")
        return of_socket(Path(path), token)
    if "@" in text:  # not quoted in the message: it may hold a password
        raise ValueError("the address has a user or password in it: a key goes to MODELYARD_API_KEY instead")
    scheme, separator, _ = text.partition("://")
    parts = urlsplit(text if separator else f"//{text}")
    scheme = scheme.lower() if separator else ""
    if scheme and scheme not in _PLAIN | _TLS:
        raise ValueError(
            f"{address!r}: the address starts with grpc://, grpcs://, http://, https:// or unix:/, "
            "or is host:port"
        )
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{address!r}: {error}") from error
    if not host or any(char.isspace() for char in text):
        raise ValueError(f"{address!r}: no host in the address")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"{address!r}: an address has a host and a port, no path and no query")
    tls = scheme in _TLS if scheme else not is_loopback(host)
    shown = f"[{host}]" if ":" in host else host
    return Endpoint(f"{shown}:{port or _PORTS.get(scheme, DEFAULT_PORT)}", tls, token, certificates)


def of_socket(path: Path, token: str = "") -> Endpoint:
    """The endpoint of a Unix socket."""
    return Endpoint(f"{_SOCKET}{quote(os.fsencode(path))}", tls=False, token=token)
