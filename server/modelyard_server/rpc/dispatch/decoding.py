"""Requests from bytes to messages, after the caller is known.

gRPC would decode them on the event loop, before the caller's key is checked.
Here a small request is decoded on the event loop and a large one on a thread,
one at a time. Protobuf holds the interpreter lock while it parses a message;
between two messages the event loop can run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any

from google.protobuf.message import DecodeError, Message

from modelyard.contract import errors
from modelyard_server import failpoints
from modelyard_server.observability import telemetry
from modelyard_server.rpc.wire import framing

INLINE_BYTES = 64 << 10
"""Requests up to this size are decoded on the event loop, in a millisecond at most."""


class Decoder:
    """Decodes the requests of one method. Use it on the event loop."""

    def __init__(self, method: str, parse: Callable[[bytes], Any], thread: Executor) -> None:
        self._method = method
        self._fast = framing.FAST_DECODERS.get(method)
        self._own = framing.DECODERS.get(method)
        self._parse = self._own or parse
        self._thread = thread

    async def message(self, request: bytes | Message) -> Any:
        """Returns what the handler takes. Raises InvalidField for bytes that are not the method's message."""
        if isinstance(request, Message):
            if self._own is None:
                telemetry.RECEIVED.add(request.ByteSize(), self._method)
                return request
            request = request.SerializeToString()
        telemetry.RECEIVED.add(len(request), self._method)
        try:
            if len(request) <= INLINE_BYTES:
                return self._parse(request)
            if self._fast is not None and (known := self._fast(request)) is not None:
                return known
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._parse_large, request)
        except DecodeError:
            raise errors.InvalidField(
                "the request cannot be decoded as the Protobuf message of this call"
            ) from None

    def _parse_large(self, request: bytes) -> Any:
        failpoints.hit("decoding.large")
        return self._parse(request)

    async def messages(self, requests: AsyncIterator[bytes | Message]) -> AsyncIterator[Any]:
        """Yields the decoded requests of a stream."""
        async for request in requests:
            message = await self.message(request)
            del request
            yield message
            del message  # hold neither while waiting for the next
