"""gRPC for the pipeline: metadata → caller, encoded bytes in and out, errors as gRPC statuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NoReturn

import grpc

from modelyard.contract import errors
from modelyard_server.rpc.dispatch import statuses
from modelyard_server.rpc.dispatch.admission import MOST_OPEN_CALLS, CallLimit
from modelyard_server.rpc.dispatch.methods import METHODS
from modelyard_server.rpc.dispatch.pipeline import Caller, Endpoint, Pipeline, refused, unknown_method

OPEN_REQUEST_BYTES = 4096
"""Longest request of health and reflection: it names a service, a file or a symbol."""

_DETAILS = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_caller: ContextVar[Caller] = ContextVar("caller")
"""Set before the handler runs: grpc serves each call in a task, and so in a context, of its own."""


class GrpcAdapter(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Serves the pipeline's methods, and limits the open ones that are registered on the server itself.

    It is an interceptor because those run before anything of the request is received, which is when
    callers are asked for their key. The open methods are those of health and reflection.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._handlers = {name: _handler(pipeline, each) for name, each in pipeline.endpoints.items()}
        self._open_handlers: dict[str, Any] = {}
        self._open_calls = CallLimit(MOST_OPEN_CALLS)

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Returns the handler of a call; for an unknown method one that answers UNIMPLEMENTED."""
        handler = self._handlers.get(details.method)
        if handler is None:
            return await self._open_handler(continuation, details)
        try:
            _caller.set(await self._pipeline.admit(details.method, details.invocation_metadata or ()))
        except errors.CommError as error:
            return _refusal(error)
        return handler

    async def _open_handler(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        name = details.method
        handler = self._open_handlers.get(name)
        if handler is None:
            registered = await continuation(details)
            if registered is None:
                # Neither counted nor logged: a caller can make up any number of names.
                return _refusal(unknown_method(name))
            handler = self._open_handlers[name] = _bounded(registered)
        try:
            if name not in METHODS or not METHODS[name].open:
                raise errors.NotAllowed("this server does not allow calls of this method")
            self._open_calls.enter()
        except errors.CommError as error:
            return _refusal(refused(name, details.invocation_metadata or (), error))
        return handler


class RefusingHandler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Answers every call with an error, except those of the service `but`."""

    def __init__(self, error: errors.CommError, *, but: str) -> None:
        self.error = error
        self._but = but

    def service(self, details: Any) -> Any:
        """Returns the handler of a call; None for the service that has one of its own."""
        return None if details.method.startswith(f"/{self._but}/") else _refusal(self.error)


def _handler(pipeline: Pipeline, endpoint: Endpoint) -> Any:
    """The gRPC handler of a method. Without serializers, gRPC hands over bytes."""

    async def unary(request: bytes, context: Any) -> bytes:
        try:
            return await pipeline.unary(endpoint, _caller.get(), request)
        except errors.CommError as error:
            await _abort(context, error)

    async def collect(requests: AsyncIterator[bytes], context: Any) -> bytes:
        try:
            return await pipeline.collect(endpoint, _caller.get(), requests)
        except errors.CommError as error:
            await _abort(context, error)

    async def stream(given: Any, context: Any) -> None:
        try:
            await pipeline.stream(endpoint, _caller.get(), given, context.write)
        except errors.CommError as error:
            await _abort(context, error)

    if endpoint.server_streams and endpoint.client_streams:
        return grpc.stream_stream_rpc_method_handler(stream)
    if endpoint.server_streams:
        return grpc.unary_stream_rpc_method_handler(stream)
    if endpoint.client_streams:
        return grpc.stream_unary_rpc_method_handler(collect)
    return grpc.unary_unary_rpc_method_handler(unary)


def _refusal(error: errors.CommError) -> Any:
    """A handler that ends the call without receiving anything of its request."""

    async def refuse(_requests: AsyncIterator[bytes], context: Any) -> None:
        await _abort(context, error)

    return grpc.stream_stream_rpc_method_handler(refuse)


async def _abort(context: Any, error: errors.CommError) -> NoReturn:
    status = statuses.status_of(error)
    await context.abort(_CODES[status.code], status.message, ((_DETAILS, status.SerializeToString()),))
    raise AssertionError("abort raises")


def _bounded(handler: Any) -> Any:
    """The handler of an open method; it refuses a long request undecoded, as INVALID_FIELD."""

    def decode(request: bytes) -> Any:
        return handler.request_deserializer(request) if len(request) <= OPEN_REQUEST_BYTES else None

    async def answer(request: Any, context: Any) -> Any:
        if request is None:
            await _abort(context, _TOO_LONG)
        return await (handler.unary_stream or handler.unary_unary)(request, context)

    async def exchange(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for reply in handler.stream_stream(_within_limit(requests, context), context):
            yield reply

    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(exchange, decode, handler.response_serializer)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(answer, decode, handler.response_serializer)
    return grpc.unary_unary_rpc_method_handler(answer, decode, handler.response_serializer)


async def _within_limit(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    async for request in requests:
        if request is None:
            await _abort(context, _TOO_LONG)
        yield request


_TOO_LONG = errors.InvalidField(f"the request is larger than {OPEN_REQUEST_BYTES:,} bytes")
