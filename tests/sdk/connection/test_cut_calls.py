"""Calls that end without an answer: which are repeated, and which are not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from modelyard import errors
from modelyard.configuration import addresses
from modelyard.contract.transport import ERROR_DOMAIN
from modelyard.rpc import metric_scan
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import Retrier
from modelyard.v1 import event_pb2, server_pb2
from tests.clients.waiting import until
from tests.parts.web_server import Site, site
from tests.sdk.connection.resetting_server import ResettingServer

__all__ = ["site"]

AT_ONCE = 15.0
"""Seconds; repeated, a call takes a minute before it fails."""
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 0, 1, 2, 7, 8
"""Codes of HTTP/2."""


@contextmanager
def connected(address: str) -> Iterator[Connection]:
    connection = Connection(lambda: addresses.parse(f"grpc://{address}"))
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: Connection) -> None:
    connection.server.GetServerInfo(server_pb2.GetServerInfoRequest())


@contextmanager
def fails_at_once() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_ONCE


@pytest.mark.parametrize("code", [NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL])
def test_a_call_that_the_other_side_gives_up_is_repeated(code: int) -> None:
    with ResettingServer([code, code]) as server, connected(server.address) as connection:
        ask(connection)
        assert server.streams >= 3


def test_a_call_that_breaks_the_protocol_of_the_other_side_is_not_repeated() -> None:
    with ResettingServer([PROTOCOL_ERROR] * 9) as server, connected(server.address) as connection:
        with fails_at_once(), pytest.raises(errors.CommError):
            ask(connection)
        assert server.streams == 1


@pytest.mark.parametrize("code", [INTERNAL_ERROR, CANCEL])
def test_a_stream_that_the_other_side_gives_up_says_so(code: int) -> None:
    with ResettingServer([code]) as server, connected(server.address) as connection:
        request = event_pb2.WatchEventsRequest(project="p")
        with pytest.raises(errors.ServerStopping, match=f"{server.address}.*without an answer.*code {code}"):
            next(connection.events.WatchEvents(request))


def test_a_scan_of_metrics_is_repeated_until_its_first_batch() -> None:
    with ResettingServer([CANCEL, INTERNAL_ERROR]) as server, connected(server.address) as connection:
        assert list(metric_scan.rows(connection, metric_scan.Source("id", 0.0))) == []
        assert server.streams == 3


def test_a_call_that_is_cancelled_here_is_not_repeated() -> None:
    with ResettingServer(silent=True) as server, connected(server.address) as connection:
        stream = connection.events.WatchEvents(event_pb2.WatchEventsRequest(project="p"))
        until(lambda: server.streams == 1)
        stream.cancel()
        with pytest.raises(errors.CommError) as cancelled:
            next(stream)
        assert type(cancelled.value) is errors.CommError
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, connection)
            until(lambda: server.streams == 2)
            with fails_at_once():
                connection.close()
                closed = asked.exception()
        assert type(closed) is errors.CommError
        assert server.streams == 2


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A server that sends these bytes to whoever connects, and closes the connection; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(4096)
                        client.sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


NO_GRPC = r"no gRPC server is at .* answers with '(HTTP/1\.1|<!DOCTYPE)"


def test_a_web_server_is_said_at_once(site: Site) -> None:
    with (
        connected(site.url.rpartition("/")[2]) as connection,
        fails_at_once(),
        pytest.raises(errors.Unimplemented, match=NO_GRPC),
    ):
        ask(connection)


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "505 HTTP Version Not Supported"])
def test_a_web_server_that_answers_in_http_1_is_said_at_once(status: str) -> None:
    reply = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    with (
        answering(reply) as address,
        connected(address) as connection,
        fails_at_once(),
        pytest.raises(errors.Unimplemented, match=NO_GRPC),
    ):
        ask(connection)


def test_a_balancer_without_a_server_is_asked_again() -> None:
    reply = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    with (
        answering(reply) as address,
        connected(address) as connection,
        pytest.raises(errors.ServerStopping),
    ):
        next(connection.events.WatchEvents(event_pb2.WatchEventsRequest(project="p")))


def test_a_server_of_another_service_is_said_at_once() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with (
            connected(f"127.0.0.1:{port}") as connection,
            fails_at_once(),
            pytest.raises(errors.Unimplemented),
        ):
            ask(connection)
    finally:
        server.stop(0).wait()


@contextmanager
def refusing(reason: str) -> Iterator[str]:
    """The address of a server that refuses each call with FAILED_PRECONDITION and a reason."""

    def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
        status = status_pb2.Status(code=9, message="the model is under review")
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN))
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort raises")

    class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
        def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Handlers()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_a_refusal_for_a_reason_of_a_newer_server_is_final_and_shows_the_reason() -> None:
    with (
        refusing("UNDER_REVIEW") as address,
        connected(address) as connection,
        fails_at_once(),
        pytest.raises(errors.CommError, match="the model is under review") as refusal,
    ):
        Retrier(connection).run(lambda: ask(connection))
    assert refusal.value.metadata["reason"] == "UNDER_REVIEW"
