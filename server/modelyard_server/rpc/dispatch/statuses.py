"""Errors as statuses: the one place where the server's side of that mapping is."""

from __future__ import annotations

from typing import NamedTuple

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from modelyard.contract import errors
from modelyard.contract.transport import ERROR_DOMAIN

TEXT_LIMIT = 1000
"""Characters of any text of a status: all of it has to fit the 8 KiB of headers that clients take."""
VIOLATION_LIMIT = 3

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Status(NamedTuple):
    """What `abort` takes."""

    code: grpc.StatusCode
    message: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def of(error: errors.CommError) -> Status:
    """The status of an error: exactly one ErrorInfo, and field violations and a delay where they apply."""
    message = _short(error.message)
    status = status_pb2.Status(
        code=error.code, message=message, details=[_any(one) for one in _details(error)]
    )
    return Status(_CODES[error.code], message, tuple(rpc_status.to_status(status).trailing_metadata))


def _details(error: errors.CommError) -> list[Message]:
    metadata = {key: _short(value, 200) for key, value in error.metadata.items()}
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=metadata)
    ]
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=_short(field, 200), description=_short(text))
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


def _short(text: str, limit: int = TEXT_LIMIT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
