"""Serves calls by Connect's protocol over HTTP: unary ones and streams of replies, in JSON and Protobuf.

`connect_app` makes an ASGI application of methods. A method is a coroutine function
that receives the request, once it is sure that the caller may call, and sends
replies. A stream of requests needs HTTP/2 and is left to gRPC.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.rpc import status_pb2

from modelyard.contract import errors, limits
from modelyard_server.rpc.dispatch import statuses
from modelyard_server.rpc.dispatch.decoding import INLINE_BYTES
from modelyard_server.web import asgi
from modelyard_server.web import connect_messages as messages
from modelyard_server.web.asgi import App, Headers, Receive, Scope, Send, answer, first
from modelyard_server.web.connect_messages import CallFailed, Encoding

T = TypeVar("T")

PROTOCOL_VERSION = "1"
LONGEST_TIMEOUT_DIGITS = 10
_ENVELOPE_BYTES = messages.ENVELOPE.size


async def _nothing() -> None:
    pass


@dataclass
class Call:
    """A call as its method sees it."""

    headers: Headers
    """Of the request."""
    session: str = ""
    """The token of the session that the caller is signed in by; empty for the key in its headers."""
    reply_headers: Headers = field(default_factory=list)
    """To be filled before the first reply."""
    reply_trailers: Headers = field(default_factory=list)
    """To be filled before the method returns or fails."""
    begin: Callable[[], Awaitable[None]] = _nothing
    """Sends the headers of a stream now instead of with its first reply."""


ReceiveRequest = Callable[[], Awaitable[bytes | Message]]
SendReply = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Method:
    """A method that can be called. Unless it streams, `serve` sends one reply; it raises CallFailed."""

    request: type[Message]
    reply: type[Message]
    streams: bool
    serve: Callable[[Call, ReceiveRequest, SendReply], Awaitable[None]]


StatusOf = Callable[[errors.CommError], status_pb2.Status]


def connect_app(methods: Mapping[str, Method], status_of: StatusOf = statuses.status_of) -> App:
    """An ASGI application for methods by their paths, such as `/modelyard.v1.RunService/GetRun`.

    Each request needs a task of its own, as uvicorn gives it. Other paths answer 404.
    `status_of` makes the status of what the application itself refuses.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        method = methods.get(scope["path"])
        if method is None:
            await answer(send, 404, b"no such method\n", [("content-type", "text/plain")])
        elif scope["method"] != "POST":
            await answer(send, 405, b"", [("allow", "POST")])
        else:
            await _serve(method, status_of, scope, receive, send)

    return serve


async def _serve(method: Method, status_of: StatusOf, scope: Scope, receive: Receive, send: Send) -> None:
    headers = asgi.headers_of(scope)
    content_type = first(headers, "content-type").partition(";")[0].strip().lower()
    prefix = "application/connect+" if method.streams else "application/"
    codec = next((codec for codec in messages.CODECS if content_type == prefix + codec), None)
    if codec is None:
        offered = ", ".join(prefix + codec for codec in messages.CODECS)
        text = f"this method takes {offered}\n".encode()
        await answer(send, 415, text, [("accept-post", offered), ("content-type", "text/plain")])
        return
    exchange = (_Stream if method.streams else _Unary)(
        method,
        Call(headers, scope.get(asgi.SESSION, "")),
        Encoding(codec, method.request, method.reply),
        content_type,
        status_of,
        receive,
        send,
    )
    await exchange.run()


class _Exchange:
    """A request and its response, until the client disconnects or its time is over."""

    encoding_header = "content-encoding"
    accept_header = "accept-encoding"

    def __init__(
        self,
        method: Method,
        call: Call,
        encoding: Encoding,
        content_type: str,
        status_of: StatusOf,
        receive: Receive,
        send: Send,
    ) -> None:
        self._status_of = status_of
        self._method = method
        self._call = call
        self._encoding = encoding
        self._content_type = content_type
        self._receive = receive
        self._send = send
        self._compresses = messages.takes_gzip(first(call.headers, self.accept_header))
        self._disconnected = False

    async def run(self) -> None:
        """Serves the call. A client that disconnects ends it."""
        task = asyncio.current_task()
        assert task is not None
        watching: list[asyncio.Task[None]] = []

        async def receive_request() -> bytes | Message:
            body = await self._body()
            watching.append(asyncio.create_task(self._watch(task)))
            return await self._decoded(body)

        try:
            async with asyncio.timeout(self._timeout()):
                await self._method.serve(self._call, receive_request, self.send_reply)
            await self.end(None)
        except CallFailed as failure:
            await self.end(failure.status)
        except errors.CommError as error:
            await self.end(self._status_of(error))
        except TimeoutError:
            late = errors.DeadlineExceeded("the call took longer than the time that its client allows")
            await self.end(self._status_of(late))
        except asyncio.CancelledError:
            if not self._disconnected:
                raise
            task.uncancel()
        finally:
            for one in watching:
                one.cancel()

    def _timeout(self) -> float | None:
        text = first(self._call.headers, "connect-timeout-ms")
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_TIMEOUT_DIGITS):
            raise errors.InvalidField(f"connect-timeout-ms: {text[:50]!r} is not a number of milliseconds")
        return int(text) / 1000

    async def _watch(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._disconnected = True
        task.cancel()

    async def _body(self) -> bytes:
        """The whole body. Raises CommError beyond the limit of messages."""
        version = first(self._call.headers, "connect-protocol-version")
        if version not in {"", PROTOCOL_VERSION}:
            raise errors.InvalidField(
                f"connect-protocol-version: {version[:50]!r} is not {PROTOCOL_VERSION!r}"
            )
        body = bytearray()
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                self._disconnected = True
                raise asyncio.CancelledError
            body += event.get("body", b"")
            if len(body) > limits.MESSAGE_BYTES + _ENVELOPE_BYTES:
                raise messages.too_large()
            if not event.get("more_body"):
                return bytes(body)

    async def _decoded(self, body: bytes) -> bytes | Message:
        """The request of a body."""
        raise NotImplementedError

    async def send_reply(self, reply: bytes) -> None:
        """Sends a reply, once there is room for it."""
        raise NotImplementedError

    async def end(self, status: status_pb2.Status | None) -> None:
        """Ends the response; with a status the call failed."""
        raise NotImplementedError

    def _encoding_of_request(self) -> str:
        name = first(self._call.headers, self.encoding_header).strip().lower() or messages.IDENTITY
        if name not in {messages.GZIP, messages.IDENTITY}:
            raise errors.Unimplemented(
                f"{self.encoding_header}: {name[:50]!r} is none of {messages.GZIP}, {messages.IDENTITY}"
            )
        return name

    async def _read(self, data: bytes, *, is_compressed: bool) -> bytes | Message:
        def read() -> bytes | Message:
            return self._encoding.read(messages.decompressed(data) if is_compressed else data)

        return await _run(read, len(data))

    async def _written(self, reply: bytes) -> tuple[bytes, bool]:
        """A reply as it is sent, and whether it is compressed."""

        def write() -> tuple[bytes, bool]:
            data = self._encoding.write(reply)
            if self._compresses and len(data) >= messages.COMPRESSED_FROM_BYTES:
                return messages.compressed(data), True
            return data, False

        return await _run(write, len(reply))


class _Unary(_Exchange):
    """A request and one reply: the body is the message."""

    _reply: bytes | None = None

    async def _decoded(self, body: bytes) -> bytes | Message:
        return await self._read(body, is_compressed=self._encoding_of_request() == messages.GZIP)

    async def send_reply(self, reply: bytes) -> None:
        self._reply = reply

    async def end(self, status: status_pb2.Status | None) -> None:
        headers = [*self._call.reply_headers]
        headers += [(f"trailer-{name}", value) for name, value in self._call.reply_trailers]
        if status is not None:
            body = json.dumps(messages.error_body(status)).encode()
            headers.append(("content-type", "application/json"))
            await answer(self._send, messages.HTTP_STATUSES.get(status.code, 500), body, headers)
            return
        assert self._reply is not None  # a unary method sends one
        body, is_compressed = await self._written(self._reply)
        if is_compressed:
            headers.append(("content-encoding", messages.GZIP))
        headers += [("content-type", self._content_type), ("vary", "accept-encoding")]
        await answer(self._send, 200, body, headers)


class _Stream(_Exchange):
    """A request and a stream of replies: each message has an envelope, and the status is in the last one."""

    encoding_header = "connect-content-encoding"
    accept_header = "connect-accept-encoding"
    _begun = False

    async def run(self) -> None:
        self._call.begin = self._begin
        await super().run()

    async def _decoded(self, body: bytes) -> bytes | Message:
        encoding = self._encoding_of_request()
        flags, data = messages.only_message(body)
        is_compressed = bool(flags & messages.COMPRESSED_FLAG)
        if is_compressed and encoding == messages.IDENTITY:
            raise errors.InternalError(f"the message is compressed, and {self.encoding_header} names no way")
        return await self._read(data, is_compressed=is_compressed)

    async def send_reply(self, reply: bytes) -> None:
        await self._begin()
        data, is_compressed = await self._written(reply)
        await self._more(messages.envelope(messages.COMPRESSED_FLAG if is_compressed else 0, data))

    async def end(self, status: status_pb2.Status | None) -> None:
        await self._begin()
        trailers: dict[str, list[str]] = {}
        for name, value in self._call.reply_trailers:
            trailers.setdefault(name, []).append(value)
        last = messages.end_of_stream(status, trailers)
        await self._send({"type": "http.response.body", "body": last})

    async def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        headers = [*self._call.reply_headers, ("content-type", self._content_type)]
        if self._compresses:
            headers.append(("connect-content-encoding", messages.GZIP))
        await asgi.begin(self._send, 200, headers)

    async def _more(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


async def _run(work: Callable[[], T], size: int) -> T:
    """The result of `work`: at once for a small message, on a thread for a large one."""
    return work() if size <= INLINE_BYTES else await asyncio.to_thread(work)
