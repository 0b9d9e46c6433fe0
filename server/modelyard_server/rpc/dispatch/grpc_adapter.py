"""The one interceptor: who calls, may they, run it, and what went wrong as a status.

Unary methods are plain functions `(request, call)` that run on the database's
threads inside one transaction. Streaming methods are coroutines or async
generators `(request or requests, call)`. None of them handles errors.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.domain import requests
from modelyard_server.domain.access.principals import Principal
from modelyard_server.observability import telemetry
from modelyard_server.observability.call_record import CallRecord
from modelyard_server.rpc.dispatch import open_methods, stalling, statuses
from modelyard_server.rpc.dispatch.admission import MOST_CALLS, MOST_OPEN_CALLS, ActiveCalls, CallLimit
from modelyard_server.rpc.dispatch.auth import Authenticator
from modelyard_server.rpc.dispatch.call import Call
from modelyard_server.rpc.dispatch.decoding import INLINE_BYTES, Decoder
from modelyard_server.rpc.dispatch.methods import METHODS, Method, Permission
from modelyard_server.rpc.dispatch.transactions import Transactions
from modelyard_server.rpc.wire import framing

T = TypeVar("T")
Behaviour = Callable[..., Any]

_caller: ContextVar[Principal] = ContextVar("caller")
"""Set before the handler runs: grpc serves each call in a task, and so in a context, of its own."""


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
    """Wraps the handler of every method of the permission table; refuses all others.

    Callers are asked for their key before anything of their request is received.
    """

    def __init__(
        self,
        transactions: Transactions,
        authenticator: Authenticator,
        active_calls: ActiveCalls,
        *,
        decoding: Executor,
        stall_seconds: float,
    ) -> None:
        self._transactions = transactions
        self._stall_seconds = stall_seconds
        self._authenticator = authenticator
        self._active_calls = active_calls
        self._decoding = decoding
        self._wrapped: dict[str, Any] = {}
        self._calls = CallLimit(MOST_CALLS)
        self._open_calls = CallLimit(MOST_OPEN_CALLS)

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler to use; None where there is no such method."""
        name = details.method
        handler = self._wrapped.get(name)
        if handler is None:
            given = await continuation(details)
            if given is None:
                return None
            self._wrapped[name] = handler = self._wrap(name, given)
        try:
            await self._admit(name, details.invocation_metadata or ())
        except Exception as error:
            return _refusing(name, error)
        return handler

    async def _admit(self, name: str, metadata: Any) -> None:
        """Finds out who calls. Raises what the call is refused with."""
        method = METHODS.get(name)
        if method is not None and method.permission is Permission.OPEN:
            self._open_calls.enter()
            return
        self._active_calls.require_serving()
        if method is None:
            raise errors.NotAllowed("this call is not open to anybody")
        self._calls.enter()
        _caller.set(await self._authenticator.principal(metadata))

    def _wrap(self, name: str, handler: Any) -> Any:
        method = METHODS.get(name)
        if method is not None and method.permission is Permission.OPEN:
            return open_methods.bounded(handler)
        decoder = Decoder(name, handler.request_deserializer, self._decoding)
        encode = _sent(name, framing.ENCODERS.get(name, handler.response_serializer))
        if not handler.request_streaming and not handler.response_streaming:
            # The reply is serialized on the thread that made it, and stored for retries as it is sent.
            behaviour = self._unary(name, method, decoder, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(behaviour)
        if not handler.response_streaming:
            behaviour = self._collecting(name, decoder, handler.stream_unary)
            return grpc.stream_unary_rpc_method_handler(behaviour, None, encode)
        if handler.request_streaming:
            behaviour = self._streaming(name, decoder, handler.stream_stream)
            return grpc.stream_stream_rpc_method_handler(behaviour, None, encode)
        behaviour = self._streaming(name, decoder, handler.unary_stream)
        return grpc.unary_stream_rpc_method_handler(behaviour, None, encode)

    def _unary(self, name: str, method: Method | None, decoder: Decoder, rule: Behaviour) -> Behaviour:
        async def behave(raw: bytes, context: Any) -> bytes:
            async with self._answering(name, context, unary=True) as principal:
                request: Message = await decoder.message(raw)
                make = await _preparing(rule, request, len(raw), principal)
                if method is None or not method.write:
                    reply = await self._transactions.read(
                        lambda session: _encoded(rule(request, make(session))),
                        short=method is not None and method.short,
                    )
                else:
                    reply = await self._transactions.write(
                        lambda session: _once(name, make(session), request, rule)
                    )
                telemetry.SENT.add(len(reply), name)
                return reply
            raise AssertionError("a call was neither answered nor refused")

        return behave

    def _collecting(self, name: str, decoder: Decoder, rule: Behaviour) -> Behaviour:
        async def behave(raws: AsyncIterator[bytes], context: Any) -> Any:
            async with self._answering(name, context) as principal:
                return await rule(self._arriving(decoder, raws), self._stream(principal, context))

        return behave

    def _streaming(self, name: str, decoder: Decoder, rule: Behaviour) -> Behaviour:
        async def behave(given: Any, context: Any) -> None:
            async with self._answering(name, context) as principal:
                is_one = isinstance(given, bytes)
                request = await decoder.message(given) if is_one else self._arriving(decoder, given)
                replies = rule(request, self._stream(principal, context))
                try:
                    async for reply in replies:
                        await stalling.send(context, reply, self._stall_seconds)
                finally:
                    # A client that went away leaves the generator suspended: what it holds is freed now.
                    await replies.aclose()

        return behave

    def _arriving(self, decoder: Decoder, raws: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        return decoder.messages(stalling.arriving(raws, self._stall_seconds))

    def _stream(self, principal: Principal, context: Any) -> _Stream:
        metadata = context.invocation_metadata() or ()
        return _Stream(principal, self._transactions, lambda: self._authenticator.principal(metadata))

    @asynccontextmanager
    async def _answering(self, name: str, context: Any, *, unary: bool = False) -> AsyncIterator[Principal]:
        """Around a call that was admitted: its principal, its errors as statuses, what is told of it."""
        metadata = context.invocation_metadata() or ()
        record = CallRecord(name, metadata, unary=unary)
        try:
            with self._active_calls.call():
                principal = _caller.get()
                record.principal_id, record.principal_name = principal.id, principal.name
                yield principal
        except Exception as error:
            await _refuse(record, context, error)
        except BaseException:  # the client is gone, or its deadline is over
            record.end(grpc.StatusCode.CANCELLED.name, grpc.StatusCode.CANCELLED.value[0])
            raise
        else:
            record.end()


def _refusing(name: str, error: Exception) -> Any:
    """A handler that ends the call without receiving anything of its request."""

    async def refuse(_raws: AsyncIterator[bytes], context: Any) -> None:
        await _refuse(CallRecord(name, context.invocation_metadata() or (), unary=False), context, error)

    return grpc.stream_stream_rpc_method_handler(refuse)


async def _preparing(
    rule: Behaviour, request: Message, size: int, principal: Principal
) -> Callable[[Session], Call]:
    """What makes the call in its transaction, with what the method's `prepared_by` makes of the request."""
    prepare = getattr(rule, "prepare", None)
    if prepare is None:
        return lambda session: Call(session, principal)
    work = functools.partial(prepare, rule.__self__, request)  # type: ignore[attr-defined]  # a method
    if size <= INLINE_BYTES:
        return lambda session: Call(session, principal, work())
    found = await asyncio.to_thread(work)
    return lambda session: Call(session, principal, found)


async def _refuse(record: CallRecord, context: Any, failure: Exception) -> None:
    error = failure if isinstance(failure, errors.CommError) else record.unexpected(failure)
    answer = statuses.of(error)
    record.end(answer.code.name, error.code, error)
    await context.abort(*answer)


def _once(name: str, call: Call, request: Message, rule: Behaviour) -> bytes:
    """The encoded reply; for a request that took effect before, the one it got then."""
    session, principal = call.session, call.principal
    request_id = getattr(request, "request_id", "")
    if not request_id:
        return _encoded(rule(request, call))
    content = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
    stored = requests.begin(session, principal, name, request_id, content)
    if stored is not None:
        return stored
    reply = _encoded(rule(request, call))
    requests.finish(session, principal, name, request_id, reply)
    return reply


def _encoded(reply: Message) -> bytes:
    return reply.SerializeToString()


def _sent(name: str, encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """The encoder; where somebody listens, one that counts bytes."""
    if not telemetry.is_listening():
        return encode

    def counted(message: Any) -> bytes:
        data = encode(message)
        telemetry.SENT.add(len(data), name)
        return data

    return counted
