"""A gRPC server that is not modelyard's and records the metadata that callers send."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


class RecordingServer(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Answers every call with an empty message, which is a valid reply of every method.

    `heard` holds all metadata that callers sent.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.address = ""

    def service(self, details: Any) -> Any:
        self.heard += [f"{key}: {value!r}" for key, value in details.invocation_metadata]
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


@contextlib.contextmanager
def recording_server(address: str = "127.0.0.1:0") -> Iterator[RecordingServer]:
    """Serves at an address, as gRPC writes it; by default at a free port."""
    found = RecordingServer()
    server = grpc.server(ThreadPoolExecutor(4), handlers=(found,))
    port = server.add_insecure_port(address)
    found.address = address if address.startswith("unix:") else f"127.0.0.1:{port}"
    server.start()
    try:
        yield found
    finally:
        server.stop(0).wait()
