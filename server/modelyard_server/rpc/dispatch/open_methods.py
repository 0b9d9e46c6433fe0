"""Methods that need no key, health and reflection: nothing large is decoded for their callers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from modelyard.contract import errors
from modelyard_server.rpc.dispatch import statuses

REQUEST_BYTES = 4096
"""A request names a service, a file or a symbol."""


def bounded(handler: Any) -> Any:
    """The handler, which refuses a larger request undecoded, as INVALID_FIELD."""

    def decode(raw: bytes) -> Any:
        return handler.request_deserializer(raw) if len(raw) <= REQUEST_BYTES else None

    async def answer(request: Any, context: Any) -> Any:
        if request is None:
            await context.abort(*_TOO_LARGE)
        return await (handler.unary_stream or handler.unary_unary)(request, context)

    async def exchange(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for reply in handler.stream_stream(_bounded(requests, context), context):
            yield reply

    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(exchange, decode, handler.response_serializer)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(answer, decode, handler.response_serializer)
    return grpc.unary_unary_rpc_method_handler(answer, decode, handler.response_serializer)


async def _bounded(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    async for request in requests:
        if request is None:
            await context.abort(*_TOO_LARGE)
        yield request


_TOO_LARGE = statuses.of(errors.InvalidField(f"the request is larger than {REQUEST_BYTES:,} bytes"))
