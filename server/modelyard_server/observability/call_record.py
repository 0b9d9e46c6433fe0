"""What is told about a call when it ends: a log line, metrics, its span."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable
from functools import cached_property

from modelyard.contract import errors
from modelyard_server.observability import telemetry

log = logging.getLogger(__name__)

Metadata = Iterable[tuple[str, str | bytes]]
"""Pairs of lower-case keys and values; it can be read more than once."""

REQUEST_ID = "x-request-id"
SLOW_SECONDS = 1.0
"""Unary calls that take longer are worth a line at level info. Streams take what their clients take."""
_SERVER_FAULTS = {"INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""Statuses whose spans count as errors: the others are the caller's business."""


class CallRecord:
    """One call, from its first byte to its status."""

    def __init__(self, method: str, metadata: Metadata, *, unary: bool) -> None:
        self.principal_id = ""
        """Who calls, once that is known; empty until then."""
        self.principal_name = ""
        self._method = method
        self._metadata = metadata
        self._unary = unary
        self._began = time.perf_counter()
        self._span = telemetry.begin_call(method, metadata)

    def end(self, status: str = "OK", number: int = 0, error: errors.CommError | None = None) -> None:
        """Tells how the call ended, before its caller learns of it."""
        seconds = time.perf_counter() - self._began
        telemetry.REQUESTS.add(1, self._method, status)
        telemetry.REQUEST_SECONDS.observe(seconds, self._method)
        reason = error.reason if error is not None else ""
        if self._span is not None:
            self._span.end(
                {
                    "rpc.grpc.status_code": number,
                    "modelyard.request_id": self._request_id,
                    "modelyard.reason": reason,
                },
                reason if status in _SERVER_FAULTS else "",
            )
        if error is not None:
            self._log(logging.INFO, error.message[:200], status=status, reason=reason, seconds=seconds)
        elif self._unary and seconds > SLOW_SECONDS:
            self._log(logging.INFO, "a slow call", status=status, seconds=seconds)
        else:
            self._log(logging.DEBUG, "a call", status=status, seconds=seconds)

    def unexpected(self, error: Exception) -> errors.InternalError:
        """What clients learn of an error that nobody expected: an id that finds the traceback in the log."""
        incident = uuid.uuid4().hex
        fields = self._fields() | {"incident": incident}
        log.error("unexpected error", exc_info=error, extra={"fields": fields})
        return errors.InternalError(
            f"something unexpected went wrong in the server; incident {incident}",
            metadata={"incident": incident},
        )

    def _log(self, level: int, message: str, *, status: str, seconds: float, reason: str = "") -> None:
        if not log.isEnabledFor(level):
            return
        fields = self._fields() | {"status": status, "duration_ms": round(seconds * 1000, 1)}
        if reason:
            fields["reason"] = reason
        log.log(level, "%s", message, extra={"fields": fields})

    def _fields(self) -> dict[str, object]:
        fields: dict[str, object] = {"method": self._method, "request_id": self._request_id}
        if self.principal_id:
            fields |= {"principal": self.principal_name, "principal_id": self.principal_id}
        if self._span is not None and self._span.trace_id:
            fields["trace_id"] = self._span.trace_id
        return fields

    @cached_property
    def _request_id(self) -> str:
        """The caller's own id, else a new one."""
        for key, value in self._metadata:
            if key == REQUEST_ID and isinstance(value, str):
                return value[:64]
        return uuid.uuid4().hex
