"""Requests from bytes to messages, once the caller is known.

gRPC would decode them on the event loop, before anybody is asked for a key.
Here a small one is decoded at once, and a large one on a thread, one at a
time: Protobuf holds the interpreter for as long as a message takes, and in
between the event loop gets it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any

from google.protobuf.message import DecodeError

from modelyard.contract import errors
from modelyard_server import failpoints
from modelyard_server.observability import telemetry
from modelyard_server.rpc.wire import framing

INLINE_BYTES = 64 << 10
"""Requests up to this size are decoded on the event loop: at worst a millisecond."""


class Decoder:
    """Reads the requests of one method. Use it on the event loop."""

    def __init__(self, method: str, parse: Callable[[bytes], Any], thread: Executor) -> None:
        self._method = method
        self._at_once = framing.AT_ONCE.get(method)
        self._parse = framing.DECODERS.get(method, parse)
        self._thread = thread

    async def message(self, raw: bytes) -> Any:
        """The request. Raises InvalidField for bytes that are no message of the method."""
        telemetry.RECEIVED.add(len(raw), self._method)
        try:
            if len(raw) <= INLINE_BYTES:
                return self._parse(raw)
            if self._at_once is not None and (known := self._at_once(raw)) is not None:
                return known
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._parse_large, raw)
        except DecodeError:
            raise errors.InvalidField(
                "the request cannot be decoded as the Protobuf message of this call"
            ) from None

    def _parse_large(self, raw: bytes) -> Any:
        failpoints.hit("decoding.large")
        return self._parse(raw)

    async def messages(self, raws: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """The requests of a stream."""
        async for raw in raws:
            message = await self.message(raw)
            del raw
            yield message
            del message  # neither is held while the next is waited for
