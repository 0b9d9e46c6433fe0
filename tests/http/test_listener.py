"""The HTTP port's connections."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from modelyard_server.web import asgi
from modelyard_server.web.listener import Listener


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_response_does_not_wait_for_the_acknowledgement_of_its_headers(host: str) -> None:
    """Headers and body are written one after the other: without TCP_NODELAY the body comes 40 ms late."""
    seen: list[int] = []

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        await asgi.answer_text(send, 200, "found")

    async def ask() -> bytes:
        listener = Listener(app, host, 0)
        await listener.start()
        try:
            reader, writer = await asyncio.open_connection(host, listener.port)
            writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            answer = await reader.readuntil(b"found")
            seen.extend(map(_no_delay, listener._server.server_state.connections))
            writer.close()
        finally:
            await listener.stop(1)
        return answer

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 200")
    assert seen == [1]


def _no_delay(protocol: Any) -> int:
    found: int = protocol.transport.get_extra_info("socket").getsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY
    )
    return found
