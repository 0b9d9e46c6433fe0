"""Serves calls independently of their transport: (method, request, caller) → reply or replies.

An adapter of a transport calls `Pipeline.admit` before it receives anything of a
request, then `unary`, `collect` or `stream`. Requests are encoded messages, or
decoded ones where the transport has another encoding. Replies are encoded.

Everything that fails is raised as `errors.CommError`, and recorded already. Each
call needs a task of its own, since limits are held until the task ends. To end a
call early, cancel the task; to give it a deadline, use `asyncio.timeout`.

Unary handlers are plain functions `(request, call)` that run on the database's
threads inside one transaction. Streaming handlers are coroutines or async
generators `(request or requests, call)`. None of them handles errors.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message
from google.rpc import code_pb2
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.domain.access.principals import Principal
from modelyard_server.observability import telemetry
from modelyard_server.observability.call_record import CallRecord, Metadata
from modelyard_server.release import VERSION
from modelyard_server.rpc.dispatch import stalls, statuses
from modelyard_server.rpc.dispatch.admission import MOST_CALLS, ActiveCalls, CallLimit
from modelyard_server.rpc.dispatch.auth import Authenticator
from modelyard_server.rpc.dispatch.call import Call
from modelyard_server.rpc.dispatch.decoding import INLINE_BYTES, Decoder
from modelyard_server.rpc.dispatch.idempotency import RepeatableRequest, content_digest
from modelyard_server.rpc.dispatch.methods import METHODS, Method
from modelyard_server.rpc.dispatch.transactions import Transactions

T = TypeVar("T")
Request = bytes | Message
Send = Callable[[bytes], Awaitable[None]]
"""Hands one encoded reply to the transport, and returns when there is room for the next."""


@dataclass(frozen=True)
class Caller:
    """Who makes a call, and the metadata (gRPC metadata or HTTP headers, lower-case names) it came with.

    `session` is the token of a session; without one the metadata say who calls.
    """

    principal: Principal
    metadata: Metadata
    session: str = ""


@dataclass(frozen=True)
class Endpoint:
    """A method of a service, with its handler. `method` is None if calls are not allowed."""

    name: str
    method: Method | None
    handler: Callable[..., Any]
    request: type[Message]
    reply: type[Message]
    client_streams: bool
    server_streams: bool
    decoder: Decoder
    prepare: Callable[[Message], object] | None
    stage: Callable[[Message, object, _StreamCall], Awaitable[object]] | None


class Pipeline:
    """Serves the methods of `services`, which maps full names of services to their servicers."""

    def __init__(
        self,
        services: Mapping[str, object],
        transactions: Transactions,
        authenticator: Authenticator,
        active_calls: ActiveCalls,
        *,
        decoding: Executor,
        stall_seconds: float,
    ) -> None:
        self._transactions = transactions
        self._authenticator = authenticator
        self._active_calls = active_calls
        self._limit = CallLimit(MOST_CALLS)
        self._stall_seconds = stall_seconds
        self.endpoints: Mapping[str, Endpoint] = {
            endpoint.name: endpoint
            for service, servicer in services.items()
            for endpoint in _endpoints(service, servicer, decoding)
        }
        """By their full names, such as `/modelyard.v1.RunService/GetRun`."""

    async def admit(self, name: str, metadata: Metadata, session: str = "") -> Caller:
        """Finds out who calls, and whether the call may be made. Raises CommError.

        The caller is that of a session, or where there is none the owner of the key in the metadata.
        """
        try:
            self._active_calls.require_serving()
            endpoint = self.endpoints.get(name)
            if endpoint is None:
                raise unknown_method(name)
            if endpoint.method is None:
                raise errors.NotAllowed("this server does not allow calls of this method")
            self._limit.enter()
            return Caller(await self._principal(metadata, session), metadata, session)
        except errors.CommError as error:
            refused(name, metadata, error)
            raise
        except Exception as failure:
            raise refused(name, metadata, failure) from failure

    def _principal(self, metadata: Metadata, session: str) -> Awaitable[Principal]:
        authenticator = self._authenticator
        return authenticator.session(session) if session else authenticator.principal(metadata)

    async def unary(self, endpoint: Endpoint, caller: Caller, request: Request) -> bytes:
        """Returns the reply to one request. Raises CommError."""
        with self._recorded(endpoint, caller, unary=True):
            assert endpoint.method is not None
            message = await endpoint.decoder.message(request)
            call_in = await self._ready(endpoint, caller, request, message)
            # The reply is encoded on the thread that made it, and stored for repetitions as it is sent.
            if endpoint.method.write:
                reply = await self._transactions.write(
                    lambda session: _once(endpoint, call_in(session), message)
                )
            else:
                reply = await self._transactions.read(
                    lambda session: _encoded(endpoint.handler(message, call_in(session))),
                    short=endpoint.method.short,
                )
            telemetry.SENT.add(len(reply), endpoint.name)
            return reply
        raise AssertionError("unreachable: the context does not suppress errors")

    async def _ready(
        self, endpoint: Endpoint, caller: Caller, request: Request, message: Message
    ) -> Callable[[Session], Call]:
        """Makes the function that makes the call in its transaction, after what goes before it."""
        prepare = await _prepared(endpoint, request, message)
        if endpoint.stage is None:
            return lambda session: Call(session, caller.principal, prepare())
        prepared = prepare()
        staged = await endpoint.stage(message, prepared, self._stream_call(caller))
        return lambda session: Call(session, caller.principal, prepared, staged)

    async def collect(self, endpoint: Endpoint, caller: Caller, requests: AsyncIterator[Request]) -> bytes:
        """Returns the one reply to a stream of requests. Raises CommError."""
        with self._recorded(endpoint, caller):
            reply = _encoded(
                await endpoint.handler(self._received(endpoint, requests), self._stream_call(caller))
            )
            telemetry.SENT.add(len(reply), endpoint.name)
            return reply
        raise AssertionError("unreachable: the context does not suppress errors")

    async def stream(
        self, endpoint: Endpoint, caller: Caller, given: Request | AsyncIterator[Request], send: Send
    ) -> None:
        """Sends the replies to one request, or to a stream of requests. Raises CommError."""
        with self._recorded(endpoint, caller):
            request = (
                await endpoint.decoder.message(given)
                if isinstance(given, bytes | Message)
                else self._received(endpoint, given)
            )
            replies = endpoint.handler(request, self._stream_call(caller))
            try:
                async for reply in replies:
                    data = _encoded(reply)
                    telemetry.SENT.add(len(data), endpoint.name)
                    await stalls.sent(send(data), self._stall_seconds)
            finally:
                # A cancelled call leaves the generator suspended: free what it holds now.
                await replies.aclose()

    def _received(self, endpoint: Endpoint, requests: AsyncIterator[Request]) -> AsyncIterator[Any]:
        return endpoint.decoder.messages(stalls.received(requests, self._stall_seconds))

    def _stream_call(self, caller: Caller) -> _StreamCall:
        return _StreamCall(
            caller.principal, self._transactions, lambda: self._principal(caller.metadata, caller.session)
        )

    @contextmanager
    def _recorded(self, endpoint: Endpoint, caller: Caller, *, unary: bool = False) -> Iterator[None]:
        """Counts and records a call that was admitted, and turns its failure into a CommError."""
        record = CallRecord(endpoint.name, caller.metadata, unary=unary)
        record.principal_id, record.principal_name = caller.principal.id, caller.principal.name
        try:
            with self._active_calls.call():
                yield
        except errors.CommError as error:
            _end(record, error)
            raise
        except Exception as failure:
            raise _end(record, failure) from failure
        except BaseException:  # the client disconnected, or the deadline passed
            record.end(*_CANCELLED)
            raise
        else:
            record.end()


@dataclass(frozen=True)
class _StreamCall:
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


_CANCELLED = statuses.code_name(code_pb2.CANCELLED), code_pb2.CANCELLED


def unknown_method(name: str) -> errors.Unimplemented:
    """The error for a method that does not exist."""
    return errors.Unimplemented(
        f"this server ({VERSION}) has no method {name[:200]}", metadata={"method": name}
    )


def refused(name: str, metadata: Metadata, failure: Exception) -> errors.CommError:
    """Records a call that ends before it is served; returns the error for the caller."""
    return _end(CallRecord(name, metadata, unary=False), failure)


def _end(record: CallRecord, failure: Exception) -> errors.CommError:
    error = failure if isinstance(failure, errors.CommError) else record.unexpected(failure)
    record.end(statuses.code_name(error.code), error.code, error)
    return error


def _endpoints(service: str, servicer: object, decoding: Executor) -> Iterator[Endpoint]:
    """The methods of a service. Raises KeyError and AttributeError for what does not exist."""
    for method in descriptor_pool.Default().FindServiceByName(service).methods:
        name = f"/{service}/{method.name}"
        handler = getattr(servicer, method.name)
        request = message_factory.GetMessageClass(method.input_type)
        prepare, stage = getattr(handler, "prepare", None), getattr(handler, "stage", None)
        yield Endpoint(
            name=name,
            method=METHODS.get(name),
            handler=handler,
            request=request,
            reply=message_factory.GetMessageClass(method.output_type),
            client_streams=method.client_streaming,
            server_streams=method.server_streaming,
            decoder=Decoder(name, request.FromString, decoding),
            prepare=prepare and functools.partial(prepare, servicer),
            stage=stage and functools.partial(stage, servicer),
        )


async def _prepared(endpoint: Endpoint, request: Request, message: Message) -> Callable[[], object]:
    """Returns the result of `prepared_by`: of a large request it is made already, on a thread."""
    if endpoint.prepare is None:
        return lambda: None
    prepare = functools.partial(endpoint.prepare, message)
    size = len(request) if isinstance(request, bytes) else request.ByteSize()
    if size <= INLINE_BYTES:
        return prepare
    result = await asyncio.to_thread(prepare)
    return lambda: result


def _once(endpoint: Endpoint, call: Call, message: Message) -> bytes:
    """The encoded reply; for a repeated request, the reply of its first success."""
    request_id = getattr(message, "request_id", "")
    if not request_id:
        return _encoded(endpoint.handler(message, call))
    request = RepeatableRequest(call.principal, endpoint.name, request_id, content_digest(message))
    stored = request.begin(call.session)
    if stored is not None:
        return stored
    reply = _encoded(endpoint.handler(message, call))
    request.finish(call.session, reply)
    return reply


def _encoded(reply: Message | bytes) -> bytes:
    """The reply as bytes; streaming handlers may give encoded messages."""
    return reply if isinstance(reply, bytes) else reply.SerializeToString()
