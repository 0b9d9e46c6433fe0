"""Addresses of servers, as people write them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

_PLAIN = {"grpc", "http"}
_TLS = {"grpcs", "https"}
_PORTS = {"http": 80, "https": 443}
DEFAULT_PORT = 7600


@dataclass(frozen=True)
class Endpoint:
    """Where calls go. `target` is `host:port`; an empty token sends none."""

    target: str
    tls: bool
    token: str = ""

    def __repr__(self) -> str:
        return f"Endpoint({self})"

    def __str__(self) -> str:
        return f"{'grpcs' if self.tls else 'grpc'}://{self.target}"


def parse(address: str, token: str = "") -> Endpoint:
    """`grpc://` and `http://` are plain, `grpcs://` and `https://` TLS.

    A bare `host:port` is plain on loopback, else TLS. Without a port: 80 and
    443 for http and https, else 7600. ValueError says what is wrong.
    """
    text = address.strip()
    scheme, separator, _ = text.partition("://")
    parts = urlsplit(text if separator else f"//{text}")
    scheme = scheme.lower() if separator else ""
    if scheme and scheme not in _PLAIN | _TLS:
        raise ValueError(
            f"{address!r}: the address starts with grpc://, grpcs://, http://, https:// or is host:port"
        )
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{address!r}: {error}") from error
    if not host or any(char.isspace() for char in text):
        raise ValueError(f"{address!r}: no host in the address")
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{address!r}: an address has a host and a port, no path, user or query")
    tls = scheme in _TLS if scheme else not is_loopback(host)
    shown = f"[{host}]" if ":" in host else host
    return Endpoint(f"{shown}:{port or _PORTS.get(scheme, DEFAULT_PORT)}", tls, token)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
