"""The pieces of Connect's protocol: codecs, compression, envelopes and errors.

It is described at connectrpc.com/docs/protocol. Nothing here knows a transport.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import status_pb2

from modelyard.contract import errors, limits
from modelyard_server.rpc.dispatch import statuses

Codec = Literal["json", "proto"]
CODECS: tuple[Codec, ...] = ("json", "proto")
GZIP, IDENTITY = "gzip", "identity"
COMPRESSED_FLAG, END_FLAG = 1, 2
ENVELOPE = struct.Struct(">BI")
"""Flags and length in front of each message of a stream."""
COMPRESSED_FROM_BYTES = 1_024
"""Shorter messages are not compressed: their headers are as long."""
_GZIP_WINDOW = 31
"""zlib's window for gzip's format."""

HTTP_STATUSES = {
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}
"""By codes of `google.rpc.Code`."""


class CallFailed(Exception):
    """A call that ends with a status other than OK."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


def error_body(status: status_pb2.Status) -> dict[str, Any]:
    """The error as JSON has it, with each detail in its binary and its JSON form."""
    body: dict[str, Any] = {"code": _code_word(status.code)}
    if status.message:
        body["message"] = status.message
    if status.details:
        body["details"] = [_detail(detail) for detail in status.details]
    return body


def _code_word(code: int) -> str:
    name = statuses.code_name(code).lower()
    return "canceled" if name == "cancelled" else name


def _detail(detail: Any) -> dict[str, Any]:
    form = {
        "type": detail.type_url.rpartition("/")[2],
        "value": base64.b64encode(detail.value).rstrip(b"=").decode(),
    }
    try:
        debug = json_format.MessageToDict(detail)
    except (TypeError, ValueError):  # of a type that this process does not know
        return form
    debug.pop("@type", None)
    return form | {"debug": debug.get("value", debug)}


def end_of_stream(status: status_pb2.Status | None, trailers: dict[str, list[str]]) -> bytes:
    """The last envelope of a stream."""
    content: dict[str, Any] = {}
    if status is not None:
        content["error"] = error_body(status)
    if trailers:
        content["metadata"] = trailers
    return envelope(END_FLAG, json.dumps(content).encode())


def envelope(flags: int, data: bytes) -> bytes:
    """A message of a stream."""
    return ENVELOPE.pack(flags, len(data)) + data


def only_message(body: bytes) -> tuple[int, bytes]:
    """Flags and content of the only envelope in a request. Raises CommError for none, several or a part."""
    if not body:
        raise errors.Unimplemented("the request has no message: this method takes exactly one")
    if len(body) < ENVELOPE.size:
        raise errors.InvalidField("the request ends within the envelope of its message")
    flags, length = ENVELOPE.unpack_from(body)
    end = ENVELOPE.size + length
    if length > limits.MESSAGE_BYTES:
        raise too_large()
    if len(body) < end:
        raise errors.InvalidField(
            f"the request ends after {len(body) - ENVELOPE.size:,} of {length:,} bytes of its message"
        )
    if len(body) > end:
        raise errors.Unimplemented("the request has several messages: this method takes exactly one")
    if flags & ~COMPRESSED_FLAG:
        raise errors.InvalidField(f"the envelope of the message has the unknown flags {flags}")
    return flags, body[ENVELOPE.size : end]


def too_large() -> errors.InvalidField:
    """The error for a request beyond the limit of messages."""
    return errors.InvalidField(f"the request is larger than {limits.MESSAGE_BYTES:,} bytes")


def decompressed(data: bytes) -> bytes:
    """What was compressed by gzip. Raises CommError for other data, and beyond the limit of messages."""
    unpacking = zlib.decompressobj(_GZIP_WINDOW)
    try:
        content = unpacking.decompress(data, limits.MESSAGE_BYTES + 1)
    except zlib.error:
        raise errors.InvalidField("the message is not what gzip makes, although its header says so") from None
    if len(content) > limits.MESSAGE_BYTES:
        raise too_large()
    if not unpacking.eof:
        raise errors.InvalidField("the message ends before its gzip stream does")
    return content


def takes_gzip(accepted: str) -> bool:
    """Whether the value of an accept-encoding header names gzip, with a weight above 0."""
    for one in accepted.lower().split(","):
        name, _, weight = one.replace(" ", "").partition(";q=")
        if name == GZIP:
            return not re.fullmatch(r"0(\.0*)?", weight)
    return False


def compressed(data: bytes) -> bytes:
    """The data by gzip, fast rather than small."""
    packing = zlib.compressobj(1, wbits=_GZIP_WINDOW)
    return packing.compress(data) + packing.flush()


@dataclass(frozen=True)
class Encoding:
    """How the messages of one call are written."""

    codec: Codec
    request: type[Message]
    reply: type[Message]

    def read(self, data: bytes) -> bytes | Message:
        """A request for the pipeline: bytes as they are, JSON as a message. Raises InvalidField."""
        if self.codec == "proto":
            return data
        message = self.request()
        if not data.lstrip().startswith(b"{") and data:
            raise errors.InvalidField(
                f"the request is not the JSON of {message.DESCRIPTOR.full_name}: it is no object"
            )
        try:
            # Unknown fields are refused: a filter with a typing error must not list, or delete, everything.
            json_format.Parse(data or b"{}", message)
        except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
            raise errors.InvalidField(
                f"the request is not the JSON of {message.DESCRIPTOR.full_name}: {error or 'it is too deep'}"
            ) from None
        if message.ByteSize() > limits.MESSAGE_BYTES:
            raise too_large()
        return message

    def write(self, reply: bytes) -> bytes:
        """An encoded reply as the client wants it."""
        if self.codec == "proto":
            return reply
        return json_format.MessageToJson(
            self.reply.FromString(reply), indent=None, ensure_ascii=False
        ).encode()
