"""Errors as `google.rpc.Status`, whatever transport sends them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from modelyard.contract import errors
from modelyard.contract.transport import ERROR_DOMAIN

MESSAGE_LIMIT = 1000
"""Bytes of the message as gRPC's header has it, percent-encoded.

All texts together must fit the 8 KiB of headers that clients accept.
"""
TEXT_LIMIT = 600
"""Bytes of any other text in a status, in UTF-8."""
FIELD_LIMIT = 200
VIOLATION_LIMIT = 3


def status_of(error: errors.CommError) -> status_pb2.Status:
    """The status of an error: one ErrorInfo, and field violations and a retry delay where they apply."""
    details = [_any(detail) for detail in _details(error)]
    return status_pb2.Status(
        code=error.code, message=_short(error.message, MESSAGE_LIMIT, _header_bytes), details=details
    )


def code_name(code: int) -> str:
    """The name of a status code, such as NOT_FOUND."""
    return str(code_pb2.Code.Name(code))


def _utf8_bytes(text: str) -> int:
    return len(text.encode())


def _header_bytes(text: str) -> int:
    """The size of a text where every byte but those of printable ASCII takes three, as does `%`."""
    plain = sum(" " <= char <= "~" and char != "%" for char in text)
    return plain + 3 * (len(text.encode()) - plain)


def _details(error: errors.CommError) -> list[Message]:
    metadata = {key: _short(value, FIELD_LIMIT) for key, value in error.metadata.items()}
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=metadata)
    ]
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(
                field=_short(field, FIELD_LIMIT), description=_short(text)
            )
            for field, text in error.violations[:VIOLATION_LIMIT]
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_delay is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_delay * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details


def _any(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def _short(text: str, limit: int = TEXT_LIMIT, size: Callable[[str], int] = _utf8_bytes) -> str:
    """The text, or as much of its beginning as has at most `limit` bytes, with an ellipsis."""
    if size(text) <= limit:
        return text
    sizes = itertools.accumulate(map(size, text[:limit]), initial=size("…"))
    return text[: sum(each <= limit for each in sizes) - 1] + "…"
