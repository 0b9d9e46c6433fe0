"""The record of a call: a log line, metrics and a span, written when the call ends."""

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
"""Unary calls that take longer are logged at level info. The time of a stream depends on its client."""
_SERVER_FAULTS = {"INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""Statuses that mark a span as failed: the others are errors of the caller."""


class CallRecord:
    """One call, from the start of its handler to its status."""

    def __init__(self, method: str, metadata: Metadata, *, unary: bool) -> None:
        self.principal_id = ""
        """The caller; empty until it is known."""
        self.principal_name = ""
        self._method = method
        self._metadata = metadata
        self._unary = unary
        self._began = time.perf_counter()
        self._span = telemetry.begin_call(method, metadata)

    def end(self, status: str = "OK", number: int = 0, error: errors.CommError | None = None) -> None:
        """Records how the call ended. Call it before the status is sent."""
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
        """Logs an unexpected error; returns the error for the caller, which only has the incident's id."""
        incident = uuid.uuid4().hex
        fields = self._fields() | {"incident": incident}
        log.error("unexpected error", exc_info=error, extra={"fields": fields})
        return errors.InternalError(
            f"unexpected error in the server; its log has the details under incident {incident}",
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
        """The id that the caller sent as x-request-id, or a new one."""
        for key, value in self._metadata:
            if key == REQUEST_ID and isinstance(value, str):
                return value[:64]
        return uuid.uuid4().hex
