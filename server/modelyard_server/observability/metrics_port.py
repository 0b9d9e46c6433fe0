"""The HTTP port for Prometheus, with a limit on requests at once and a time limit for silent ones."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

REQUESTS_AT_ONCE = 16
"""Further connections are closed."""
REQUEST_SECONDS = 10.0
"""After which a silent connection is closed."""


def listen(host: str, port: int, application: Callable[..., Any]) -> MetricsServer:
    """Serves a WSGI application on a thread until `close`. Raises OSError."""
    kind = _MetricsServerV6 if ":" in host else MetricsServer
    server = kind((host, port), _Handler)
    server.set_app(application)
    server.start()
    return server


class MetricsServer(ThreadingMixIn, WSGIServer):
    """A WSGI server with a thread a request."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._free = threading.BoundedSemaphore(REQUESTS_AT_ONCE)
        self._thread = threading.Thread(target=self.serve_forever, name="metrics", daemon=True)
        super().__init__(address, handler)

    def start(self) -> None:
        """Starts to accept requests."""
        self._thread.start()

    def close(self) -> None:
        """Stops accepting requests."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for another request."""
        return self._free.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers one request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that disconnect."""


class _MetricsServerV6(MetricsServer):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def address_string(self) -> str:
        """Returns the address itself, without a DNS lookup."""
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        """Does nothing: standard error has JSON lines only."""
