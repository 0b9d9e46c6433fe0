"""The life of the gRPC server: bind, announce the address, serve, drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any, Protocol

import grpc

from modelyard.contract.streams import say
from modelyard_server.process import file_descriptors, health, sockets
from modelyard_server.process.data_folder import Advertisement
from modelyard_server.rpc.dispatch.admission import ActiveCalls
from modelyard_server.rpc.dispatch.grpc_adapter import GrpcAdapter
from modelyard_server.rpc.services import reflection, registration
from modelyard_server.settings import Settings, StartError, bracketed, serves_line

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10
"""How long a new connection may take for its handshake of TLS and HTTP/2."""
CONNECTION_IDLE_SECONDS = 300
"""After which a connection without calls is closed. Clients reconnect at their next call."""
CALLS_PER_CONNECTION = 10_000
QUEUED_CALLS = 20_000

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Loopback addresses for the folder's owner, by the address that means every interface."""
_IDLE_CHECKS = 4
"""How often in an idle period an embedded server checks whether it is over."""


def make_server(settings: Settings, adapter: GrpcAdapter | None) -> Any:
    """Makes a server without services and ports."""
    options = [
        ("grpc.so_reuseport", int(settings.workers > 1)),
        # Clients behind load balancers ping idle connections, which gRPC would punish by closing them.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_time_ms", 120_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.ping_timeout_ms", 20_000),
        ("grpc.max_allowed_incoming_connections", file_descriptors.connections()),
        # Close connections that are silent, during the handshake and between calls.
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
        ("grpc.max_connection_idle_ms", CONNECTION_IDLE_SECONDS * 1000),
        # Further calls on one connection wait in the client.
        ("grpc.max_concurrent_streams", CALLS_PER_CONNECTION),
        # gRPC ends what it cannot queue with a bare CANCELLED; `rpc/dispatch/admission.py` gives a reason.
        ("grpc.server.max_pending_requests", QUEUED_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", QUEUED_CALLS),
    ]
    return grpc.aio.server(interceptors=[adapter] if adapter else [], options=options)


class Listener(Protocol):
    """A port besides gRPC's that the same calls are served on."""

    @property
    def port(self) -> int:
        """Its number."""

    async def start(self) -> None:
        """Begins to serve."""

    async def stop(self, drain_seconds: float) -> None:
        """Ends, after what is served or the given time."""


class Web(Protocol):
    """What serves the same calls over HTTP, as far as a port is open for it."""

    @property
    def port(self) -> int | None:
        """The number of the port; None for none."""

    @property
    def url(self) -> str:
        """Where browsers find the page; empty without one."""

    async def start(self) -> None:
        """Begins to serve."""

    async def stop(self, drain_seconds: float) -> None:
        """Ends, after what is served or the given time."""


async def serve(
    server: Any,
    settings: Settings,
    active_calls: ActiveCalls,
    advertisement: Advertisement | None,
    web: Web,
) -> None:
    """Serves until SIGTERM, SIGINT or, embedded, the idle time; then drains. Raises StartError."""
    healthy = health.Health(server, registration.NAMES)
    reflection.add_to_server(server, (*registration.NAMES, health.SERVICE_NAME))
    socket = _bind_socket(server, settings, advertisement) if advertisement else None
    port = 0 if settings.embedded else bind(server, settings)
    await server.start()
    await web.start()
    await healthy.set(serving=True)
    stopping = on_signals()
    gc.freeze()  # objects made at the start live on: keep the garbage collector from visiting them
    _announce(settings, port, socket, advertisement, web)
    try:
        await _until_over(stopping, settings, active_calls)
    finally:
        # First, so that clients that look for a server from now on start a new one.
        if advertisement is not None:
            advertisement.withdraw()
        active_calls.stop()
        await healthy.drain()
        await active_calls.quiet()
        await asyncio.gather(server.stop(settings.drain_seconds), web.stop(settings.drain_seconds))
        if socket is not None:
            sockets.remove(socket)


def bind(server: Any, settings: Settings) -> int:
    """Adds the port that the settings name, and returns it. Raises StartError."""
    address = f"{bracketed(settings.host)}:{settings.port}"
    try:
        if settings.tls_cert and settings.tls_key:
            pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
            port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        else:
            port = server.add_insecure_port(address)
    except OSError as error:
        raise StartError(f"the TLS certificate or key cannot be read: {error}") from error
    except RuntimeError:
        port = 0
    if not port:
        raise StartError(
            f"cannot listen on {address}: another process has the port, or the address is not one of "
            "this machine"
        )
    return int(port)


def _bind_socket(server: Any, settings: Settings, advertisement: Advertisement) -> Path | None:
    """Adds the Unix socket for the folder's owner. Logs a warning and returns None where that fails.

    Raises StartError for an embedded server, which has nothing else.
    """
    for path in sockets.candidates(advertisement.folder):
        with contextlib.suppress(RuntimeError):  # the file system does not support sockets
            if server.add_insecure_port(sockets.target(path)):
                path.chmod(0o600)
                return path
        sockets.remove(path)
    failed = (
        "no Unix socket can be made in the data folder or in the folder for temporary files: "
        "set TMPDIR to another one"
    )
    if settings.embedded:
        raise StartError(failed)
    log.warning("%s; until then, clients on this machine need MODELYARD_URL", failed)
    return None


def _announce(
    settings: Settings,
    port: int,
    socket: Path | None,
    advertisement: Advertisement | None,
    web: Web,
) -> None:
    address = sockets.target(socket) if socket and settings.embedded else settings.address(port)
    if advertisement is not None:
        reached = settings.address(port, host=_EVERYWHERE.get(settings.host))
        advertisement.publish(address if settings.embedded else reached, socket, web.url)
    say(serves_line(settings, address, web.port))


def on_signals() -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets. The second one ends the process at once."""
    stopping = asyncio.Event()

    def on_signal() -> None:
        if stopping.is_set():
            log.warning("stopped at once by a second signal")
            sys.stderr.flush()
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stopping


async def _until_over(stopping: asyncio.Event, settings: Settings, active_calls: ActiveCalls) -> None:
    if not settings.embedded:
        await stopping.wait()
        return
    while not stopping.is_set() and active_calls.idle_seconds < settings.idle_seconds:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), settings.idle_seconds / _IDLE_CHECKS)
