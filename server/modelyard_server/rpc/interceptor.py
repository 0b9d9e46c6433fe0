"""The one interceptor: who calls, may they, run it, and what went wrong as a status.

Unary methods are plain functions `(request, call)` that run on the database's
threads inside one transaction. Streaming methods are coroutines or async
generators `(request or requests, call)`. None of them handles errors.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server import telemetry
from modelyard_server.domain import requests
from modelyard_server.domain.principals import Principal
from modelyard_server.rpc import framing, status
from modelyard_server.rpc.activity import Activity
from modelyard_server.rpc.auth import Authenticator
from modelyard_server.rpc.call import Call
from modelyard_server.rpc.call_record import CallRecord
from modelyard_server.rpc.permissions import METHODS, Method, Permission
from modelyard_server.rpc.pools import Transactions

T = TypeVar("T")
Behaviour = Callable[..., Any]

_UNDECODABLE = object()
"""Stands for a request that is no message of its type."""


@dataclass(frozen=True)
class _Stream:
    """The `StreamCall` of one call."""

    principal: Principal
    _transactions: Transactions
    _principal_now: Callable[[], Awaitable[Principal]]

    def read(self, rule: Callable[[Session], T]) -> Awaitable[T]:
        return self._transactions.read(rule)

    def write(self, rule: Callable[[Session], T]) -> Awaitable[T]:
        return self._transactions.write(rule)

    def recheck(self) -> Awaitable[Principal]:
        return self._principal_now()


class Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Wraps the handler of every method of the permission table; refuses all others."""

    def __init__(self, transactions: Transactions, authenticator: Authenticator, activity: Activity) -> None:
        self._transactions = transactions
        self._authenticator = authenticator
        self._activity = activity
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler to use; None where there is no such method."""
        known = self._wrapped.get(details.method)
        if known is not None:
            return known
        handler = await continuation(details)
        if handler is None:
            return None
        self._wrapped[details.method] = wrapped = self._wrap(details.method, handler)
        return wrapped

    def _wrap(self, name: str, handler: Any) -> Any:
        method = METHODS.get(name)
        if method is not None and method.permission is Permission.OPEN:
            return handler
        decode = _received(name, _tolerant(framing.DECODERS.get(name, handler.request_deserializer)))
        encode = _sent(name, framing.ENCODERS.get(name, handler.response_serializer))
        if not handler.request_streaming and not handler.response_streaming:
            # The reply is serialized on the thread that made it, and stored for retries as it is sent.
            behaviour = self._unary(name, method, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(behaviour, decode, None)
        if not handler.response_streaming:
            behaviour = self._collecting(name, method, handler.stream_unary)
            return grpc.stream_unary_rpc_method_handler(behaviour, decode, encode)
        if handler.request_streaming:
            behaviour = self._streaming(name, method, handler.stream_stream)
            return grpc.stream_stream_rpc_method_handler(behaviour, decode, encode)
        behaviour = self._streaming(name, method, handler.unary_stream)
        return grpc.unary_stream_rpc_method_handler(behaviour, decode, encode)

    def _unary(self, name: str, method: Method | None, rule: Behaviour) -> Behaviour:
        async def behave(request: Any, context: Any) -> bytes:
            async with self._answering(name, method, context, unary=True) as principal:
                readable: Message = _readable(request)
                if method is None or not method.write:
                    reply = await self._transactions.read(
                        lambda session: _encoded(rule(readable, Call(session, principal))),
                        short=method is not None and method.short,
                    )
                else:
                    reply = await self._transactions.write(
                        lambda session: _once(name, session, principal, readable, rule)
                    )
                telemetry.SENT.add(len(reply), name)
                return reply
            raise AssertionError("a call was neither answered nor refused")

        return behave

    def _collecting(self, name: str, method: Method | None, rule: Behaviour) -> Behaviour:
        async def behave(requests: AsyncIterator[Any], context: Any) -> Any:
            async with self._answering(name, method, context) as principal:
                return await rule(_all_readable(requests), self._stream(principal, context))

        return behave

    def _streaming(self, name: str, method: Method | None, rule: Behaviour) -> Behaviour:
        async def behave(given: Any, context: Any) -> AsyncIterator[Any]:
            async with self._answering(name, method, context) as principal:
                request = _all_readable(given) if hasattr(given, "__aiter__") else _readable(given)
                replies = rule(request, self._stream(principal, context))
                try:
                    async for reply in replies:
                        yield reply
                finally:
                    # A client that went away leaves the generator suspended: what it holds is freed now.
                    await replies.aclose()

        return behave

    def _stream(self, principal: Principal, context: Any) -> _Stream:
        metadata = context.invocation_metadata() or ()
        return _Stream(principal, self._transactions, lambda: self._authenticator.principal(metadata))

    @asynccontextmanager
    async def _answering(
        self, name: str, method: Method | None, context: Any, *, unary: bool = False
    ) -> AsyncIterator[Principal]:
        """Around a call: its principal, its permission, its errors as statuses, and what is told of it."""
        metadata = context.invocation_metadata() or ()
        record = CallRecord(name, metadata, unary=unary)
        try:
            with self._activity.call():
                if method is None:
                    raise errors.NotAllowed("this call is not open to anybody")
                principal = await self._authenticator.principal(metadata)
                record.principal = principal
                yield principal
        except errors.CommError as error:
            await _refuse(record, context, error)
        except Exception as error:
            await _refuse(record, context, record.unforeseen(error))
        except BaseException:  # the client is gone, or its deadline is over
            record.end(grpc.StatusCode.CANCELLED.name, grpc.StatusCode.CANCELLED.value[0])
            raise
        else:
            record.end()


async def _refuse(record: CallRecord, context: Any, error: errors.CommError) -> None:
    answer = status.of(error)
    record.end(answer.code.name, error.code, error)
    await context.abort(*answer)


def _once(name: str, session: Session, principal: Principal, request: Message, rule: Behaviour) -> bytes:
    """The encoded reply; for a request that took effect before, the one it got then."""
    request_id = getattr(request, "request_id", "")
    if not request_id:
        return _encoded(rule(request, Call(session, principal)))
    content = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
    stored = requests.begin(session, principal, name, request_id, content)
    if stored is not None:
        return stored
    reply = _encoded(rule(request, Call(session, principal)))
    requests.finish(session, principal, name, request_id, reply)
    return reply


def _encoded(reply: Message) -> bytes:
    return reply.SerializeToString()


def _tolerant(decode: Callable[[bytes], Message]) -> Callable[[bytes], object]:
    """A decoder whose failure reaches the handler: gRPC itself would answer INTERNAL."""

    def decoded(data: bytes) -> object:
        try:
            return decode(data)
        except DecodeError:
            return _UNDECODABLE

    return decoded


def _readable(request: Any) -> Any:
    if request is _UNDECODABLE:
        raise errors.InvalidField("the request cannot be decoded as the Protobuf message of this call")
    return request


async def _all_readable(given: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in given:
        yield _readable(request)


def _received(name: str, decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The decoder; where somebody listens, one that counts bytes."""
    if not telemetry.is_listening():
        return decode

    def counted(data: bytes) -> Any:
        telemetry.RECEIVED.add(len(data), name)
        return decode(data)

    return counted


def _sent(name: str, encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """The encoder; where somebody listens, one that counts bytes."""
    if not telemetry.is_listening():
        return encode

    def counted(message: Any) -> bytes:
        data = encode(message)
        telemetry.SENT.add(len(data), name)
        return data

    return counted
