"""The HTTP/1.1 server: uvicorn on the event loop of the gRPC server.

It closes connections that are silent, or that take too long over a request's
headers, as the gRPC server does with handshakes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from modelyard_server.settings import StartError, bracketed
from modelyard_server.web.asgi import App

HEADER_SECONDS = 10.0
"""How long a connection may take until its first request has begun."""
IDLE_SECONDS = 75
"""After which a connection without requests is closed."""
MOST_CONNECTIONS = 1_000
"""Connections and requests at once; further ones are answered 503."""
HEADER_BYTES = 32 << 10
"""Of all headers of a request."""

log = logging.getLogger(__name__)


class Listener:
    """Serves an application on a port until `stop`."""

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        *,
        certificate: tuple[Path, Path] | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Binds. `certificate` is the pair of chain and private key, PEM. Raises StartError."""
        self._socket = _bound(host, port, reuse_port=reuse_port)
        config = uvicorn.Config(
            app,
            http=_GuardedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # uvicorn would take the address and the scheme from headers of any client on this machine.
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=IDLE_SECONDS,
            h11_max_incomplete_event_size=HEADER_BYTES,
            ssl_context_factory=None if certificate is None else lambda _config, _default: _tls(*certificate),
        )
        config.load()
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Begins to serve, on the running event loop."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.01)

    async def stop(self, drain_seconds: float) -> None:
        """Takes no connection any more, and waits for the requests that are served."""
        if self._serving is None:
            self._socket.close()
            return
        self._server.should_exit = True
        done, _ = await asyncio.wait([self._serving], timeout=drain_seconds)
        if not done:
            self._server.force_exit = True
            await asyncio.wait([self._serving])


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves the signals to the gRPC server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _GuardedProtocol(H11Protocol):
    """uvicorn's protocol, with a limit on how long a connection may be silent at its start."""

    _opening: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._opening = self.loop.call_later(HEADER_SECONDS, self._close_unless_begun)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._opening is not None:
            self._opening.cancel()
        super().connection_lost(exc)

    def _close_unless_begun(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def _bound(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # The protocol is named so that asyncio sets TCP_NODELAY on the connections: without it each body
        # waits for the acknowledgement of its headers, 40 ms.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind((host.strip("[]"), port))
    except OSError as error:
        raise StartError(
            f"cannot listen on {bracketed(host)}:{port} for HTTP ({error.strerror}); --web-port takes another"
        ) from error
    bound.setblocking(False)
    return bound


def _tls(chain: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(chain, key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"the TLS certificate or key cannot be read: {error}") from error
    return context
