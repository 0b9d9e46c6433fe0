"""Calls with any bytes, and what comes of them."""

from __future__ import annotations

import base64
import http.client
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from modelyard import errors
from tests.clients.refusals import Refusal, read
from tests.parts.server import LiveServer, Stubs
from tests.wire.bad_input.scene import METHODS, path_of

ENVELOPE = struct.Struct(">BI")
"""Flags and length in front of a message of a stream."""
END = 2
"""The flag of the last one."""
WATCH_SECONDS = 0.2
"""Of a call that has no end unless it is refused."""
WATCHES = {"EventService/WatchEvents", "RunService/WatchRuns"}
_NAMING = {"INVALID_FIELD", "INVALID_FILTER", "INVALID_MASK", "INVALID_PAGE_TOKEN"}
"""Reasons of refusals that name a field."""
_WITHOUT_FIELD = ("the request cannot be decoded", "the request is not the JSON of", "the request is larger")


def refusal_of(
    stubs: Stubs, method: str, requests: Sequence[Message | bytes], seconds: float = WATCH_SECONDS
) -> Refusal | None:
    """How a call of any kind is refused, if it is. Its replies are read to the end, or for `seconds`."""
    replies = stubs.channel.stream_stream(path_of(method), request_serializer=_encoded)(
        iter(requests), timeout=seconds if method in WATCHES else 30
    )
    refusal = Refusal()
    try:
        for _ in replies:
            pass
    except grpc.RpcError as error:
        if method in WATCHES and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return None
        read(error, refusal)
        return refusal
    return None


def check(refusal: Refusal | None) -> None:
    """Fails for a refusal that is no answer to bad input, or does not say what is bad."""
    if refusal is None:
        return
    assert refusal.reason not in {"INTERNAL", "RETRY_TRANSACTION", "DATABASE_UNAVAILABLE"}, refusal
    assert refusal.code.value[0] == errors.BY_REASON[refusal.reason].code, refusal
    if refusal.reason in _NAMING and not refusal.message.startswith(_WITHOUT_FIELD):
        assert refusal.fields, refusal
        assert all(refusal.fields), refusal


def call_over_http(
    server: LiveServer, method: str, body: bytes, codec: str = "json", flags: int = 0
) -> tuple[int, Any]:
    """Calls a method by Connect's protocol; returns the HTTP status, and the error as JSON, empty for none.

    `flags` are those of the message where the method streams.
    """
    streams = METHODS[method].server_streaming
    content_type = f"application/connect+{codec}" if streams else f"application/{codec}"
    sent = ENVELOPE.pack(flags, len(body)) + body if streams else body
    status, found = send(
        server,
        "POST",
        path_of(method),
        sent,
        {"content-type": content_type, "authorization": f"Bearer {server.token}"},
    )
    if status == 200:
        return status, _last(found).get("error", {}) if streams else {}
    return status, json.loads(found) if found.startswith(b"{") else {}


def _last(stream: bytes) -> Any:
    """The last message of a stream, which says how it ended."""
    while stream:
        flags, length = ENVELOPE.unpack_from(stream)
        content, stream = stream[ENVELOPE.size : ENVELOPE.size + length], stream[ENVELOPE.size + length :]
        if flags & END:
            return json.loads(content)
    raise AssertionError("the stream has no end")


def send(
    server: LiveServer, verb: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of a request over HTTP, whose headers and path are sent as they are."""
    address = urlsplit(server.web_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        connection.putrequest(verb, path)
        for name, value in (headers or {}).items():
            connection.putheader(name, value.encode("latin-1"))
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def reason_and_fields(error: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Reason and fields of an error as Connect's JSON has it."""
    reason, fields = "", []
    for detail in error.get("details", ()):
        data = base64.b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4))
        if detail["type"] == "google.rpc.ErrorInfo":
            reason = error_details_pb2.ErrorInfo.FromString(data).reason
        elif detail["type"] == "google.rpc.BadRequest":
            found = error_details_pb2.BadRequest.FromString(data)
            fields = [violation.field for violation in found.field_violations]
    return reason, fields


def _encoded(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
