"""The server that Connect's conformance runner tests: our adapter, with the service that the runner calls.

The runner starts it, writes a ServerCompatRequest to its standard input and reads a
ServerCompatResponse from its standard output, each behind its length.
`MODELYARD_CONFORMANCE_SCHEMA` is the file with the descriptors of the runner's protos.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    empty_pb2,  # noqa: F401  # the runner's protos import these two
    message_factory,
    struct_pb2,  # noqa: F401
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import status_pb2

from modelyard.contract import errors
from modelyard_server.web.connect import Call, Headers, Method, ReceiveRequest, SendReply, connect_app
from modelyard_server.web.connect_messages import CallFailed
from modelyard_server.web.listener import Listener

PACKAGE = "connectrpc.conformance.v1"
_LENGTH = struct.Struct(">I")


def load_schema(path: Path) -> None:
    """Adds the runner's messages to the default pool, so that details of errors can hold them."""
    pool = descriptor_pool.Default()
    for file in descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file:
        if file.package == PACKAGE:
            pool.AddSerializedFile(file.SerializeToString())


def message_class(name: str) -> type[Message]:
    """The class of one of the runner's messages."""
    return message_factory.GetMessageClass(
        descriptor_pool.Default().FindMessageTypeByName(f"{PACKAGE}.{name}")
    )


class Service:
    """Answers as the requests say."""

    def methods(self) -> dict[str, Method]:
        """Its methods by their paths."""
        served = {
            "Unary": (self._unary, False),
            "IdempotentUnary": (self._unary, False),
            "ServerStream": (self._server_stream, True),
            "Unimplemented": (self._unimplemented, False),
        }
        return {
            f"/{PACKAGE}.ConformanceService/{name}": self._method(name, serve, streams)
            for name, (serve, streams) in served.items()
        }

    def _method(self, name: str, serve: Any, streams: bool) -> Method:
        request, reply = message_class(f"{name}Request"), message_class(f"{name}Response")

        async def run(call: Call, receive: ReceiveRequest, send: SendReply) -> None:
            received = await receive()
            message = request.FromString(received) if isinstance(received, bytes) else received
            await serve(call, message, reply, send)

        return Method(request, reply, streams, run)

    async def _unary(self, call: Call, request: Any, reply: type[Any], send: SendReply) -> None:
        wanted = request.response_definition
        _add(call.reply_headers, wanted.response_headers)
        _add(call.reply_trailers, wanted.response_trailers)
        await asyncio.sleep(wanted.response_delay_ms / 1000)
        if wanted.HasField("error"):
            raise _failure(wanted.error, _info(call, request))
        message = reply()
        message.payload.data = wanted.response_data
        message.payload.request_info.CopyFrom(_info(call, request))
        await send(message.SerializeToString())

    async def _server_stream(self, call: Call, request: Any, reply: type[Any], send: SendReply) -> None:
        wanted = request.response_definition
        _add(call.reply_headers, wanted.response_headers)
        _add(call.reply_trailers, wanted.response_trailers)
        await call.begin()
        for number, data in enumerate(wanted.response_data):
            await asyncio.sleep(wanted.response_delay_ms / 1000)
            message = reply()
            message.payload.data = data
            if not number:
                message.payload.request_info.CopyFrom(_info(call, request))
            await send(message.SerializeToString())
        if wanted.HasField("error"):
            raise _failure(wanted.error, None if wanted.response_data else _info(call, request))

    async def _unimplemented(self, call: Call, request: Any, reply: type[Any], send: SendReply) -> None:
        raise CallFailed(_plain_status(errors.Unimplemented("it is not there")))


def _add(headers: Headers, wanted: Any) -> None:
    for header in wanted:
        headers += [(header.name.lower(), value) for value in header.value]


def _info(call: Call, request: Message) -> Any:
    info = message_class("ConformancePayload.RequestInfo")()
    assert hasattr(info, "request_headers")
    values: dict[str, list[str]] = {}
    for name, value in call.headers:
        values.setdefault(name, []).append(value)
    for name, all_of_it in values.items():
        info.request_headers.add(name=name, value=all_of_it)
    if "connect-timeout-ms" in values:
        info.timeout_ms = int(values["connect-timeout-ms"][0])
    info.requests.append(_any(request))
    return info


def _any(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _failure(error: Any, info: Message | None) -> CallFailed:
    details = [*error.details, *([_any(info)] if info is not None else [])]
    return CallFailed(status_pb2.Status(code=error.code, message=error.message, details=details))


def _plain_status(error: errors.CommError) -> status_pb2.Status:
    """Without details: the runner expects errors that have none but those it asked for."""
    return status_pb2.Status(code=error.code, message=error.message)


async def main() -> None:
    """Serves until the runner ends the process."""
    load_schema(Path(os.environ["MODELYARD_CONFORMANCE_SCHEMA"]))
    request: Any = message_class("ServerCompatRequest").FromString(_read(sys.stdin.buffer))
    with tempfile.TemporaryDirectory() as folder:
        certificate = None
        if request.use_tls:
            certificate = Path(folder, "cert.pem"), Path(folder, "key.pem")
            certificate[0].write_bytes(request.server_creds.cert)
            certificate[1].write_bytes(request.server_creds.key)
        listener = Listener(
            connect_app(Service().methods(), _plain_status), "127.0.0.1", 0, certificate=certificate
        )
        await listener.start()
        response: Any = message_class("ServerCompatResponse")()
        response.host, response.port = "127.0.0.1", listener.port
        response.pem_cert = request.server_creds.cert
        data = response.SerializeToString()
        sys.stdout.buffer.write(_LENGTH.pack(len(data)) + data)
        sys.stdout.buffer.flush()
        await asyncio.Event().wait()


def _read(stream: Any) -> bytes:
    (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
    return bytes(stream.read(length))


if __name__ == "__main__":
    asyncio.run(main())
