"""Calls over a channel: key, deadline, request id, retries, and errors as classes.

`Calls` takes the place of the channel in generated stubs. It asks its connection
for the present channel at each attempt, so a stub survives a restart of the server.
"""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grpc

from modelyard.contract import errors
from modelyard.contract.transport import ERROR_DOMAIN, TRACEPARENT
from modelyard.host import cancellation, forking, terminal
from modelyard.rpc.retry import GIVE_UP_SECONDS, Backoff, asks_for_retry

UNARY_SECONDS = 60.0
"""Default deadline of one attempt of a unary call."""
WARN_SECONDS = 2.0
"""How long a unary call is repeated before a warning says so."""
_NOT_CONNECTED = "failed to connect to all addresses"
"""Prefix of gRPC's message for a call without a connection."""
_CANCELLED_HERE = ("Locally cancelled", "Channel closed", "Cancelled upon garbage collection")
"""Prefixes of gRPC's messages for calls that this process has cancelled."""
_STREAM_ENDED = re.compile(r"RST_STREAM with error code [028]\b|^Stream removed$")
"""gRPC's messages for streams that the other side gave up: NO_ERROR, INTERNAL_ERROR or CANCEL in HTTP/2.

The other codes say that this side broke the protocol, as to a server that is not gRPC's; a new attempt
would end in the same way.
"""

_BY_STATUS: dict[grpc.StatusCode, type[errors.CommError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidField,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.PERMISSION_DENIED: errors.NotAllowed,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.QuotaExceeded,
    grpc.StatusCode.ABORTED: errors.RetryTransaction,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unimplemented,
    grpc.StatusCode.INTERNAL: errors.InternalError,
    grpc.StatusCode.UNAVAILABLE: errors.ServerStopping,
    grpc.StatusCode.DATA_LOSS: errors.ChunkCorrupt,
    grpc.StatusCode.UNAUTHENTICATED: errors.KeyInvalid,
}
"""The class of an error that has no reason of the server."""


class Channels(Protocol):
    """Provides the current channel and key of a call."""

    def current(self) -> grpc.Channel:
        """grpc's channel of this process."""

    def credentials(self) -> tuple[tuple[str, str], ...]:
        """Metadata that names the caller."""

    def reconnect(self) -> None:
        """Locates the server again, if it has moved."""

    def may_have_moved(self, error: errors.CommError) -> bool:
        """Whether another server may hold the address now."""

    def describe(self) -> str:
        """The server's address, for messages."""

    def explain(self, told: str) -> errors.CommError:
        """The error of a call that reached no server; `told` is gRPC's description."""


class Calls(grpc.Channel):  # type: ignore[misc]  # grpc has no types
    """The channel that stubs use; see the module."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """A call with one request and one reply: retried."""
        return _Unary(self._channels, lambda channel: channel.unary_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """A call with a stream of replies: never retried here."""
        return _Streaming(self._channels, lambda channel: channel.unary_stream(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """A call with a stream of requests and one reply: never retried here."""
        return _Collecting(self._channels, lambda channel: channel.stream_unary(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """A call with a stream each way: never retried here."""
        return _Streaming(self._channels, lambda channel: channel.stream_stream(method, *args, **kwargs))

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """As grpc.Channel."""
        self._channels.current().subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        """As grpc.Channel."""
        self._channels.current().unsubscribe(callback)

    def close(self) -> None:
        """Does nothing: the connection owns the channel."""

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Call:
    def __init__(self, channels: Channels, make: Callable[[grpc.Channel], Any]) -> None:
        self._channels = channels
        self._make = make

    def _begin(
        self, request: Any, timeout: float | None, metadata: Any = None, *, in_future: bool = False
    ) -> Any:
        headers = (*self._channels.credentials(), *trace_context(), *(metadata or ()))
        call = self._make(self._channels.current())
        return (call.future if in_future else call)(request, timeout=timeout, metadata=headers)

    def _reply(self, request: Any, timeout: float | None, metadata: Any) -> Any:
        """The reply of a call that another thread may cancel, if the context says so."""
        ends = cancellation.current()
        if ends is None:
            return self._begin(request, timeout, metadata)
        call = self._begin(request, timeout, metadata, in_future=True)
        with ends.running(call):
            try:
                return call.result()
            except grpc.FutureCancelledError:
                raise call from None  # a call of gRPC is also its error, with status and details

    def _complete(self, request: Any, timeout: float | None, metadata: Any) -> Any:
        """Returns the reply. Raises ServerStopping if the call was cancelled by a fork of this process.

        Raises DeadlineExceeded if another thread ended it.
        """
        cuts = forking.cuts()
        try:
            with forking.running():
                return self._reply(request, timeout, metadata)
        except (grpc.RpcError, ValueError) as failure:  # ValueError: the channel has just been closed
            if forking.cuts() != cuts:
                raise _was_cut() from None
            if cancellation.is_cancelled() and _is_cancelled(failure):
                raise errors.DeadlineExceeded(_no_answer(self._channels.describe())) from None
            if isinstance(failure, grpc.RpcError):
                raise _raised(failure, self._channels) from None
            raise


class _Unary(_Call):
    def __call__(self, request: Any, timeout: float | None = None, metadata: Any = None) -> Any:
        _identify(request)
        backoff = Backoff()
        backoff.start()
        moved = False
        while True:
            cuts = forking.cuts()
            try:
                return self._complete(request, timeout or UNARY_SECONDS, metadata)
            except errors.CommError as error:
                if forking.cuts() != cuts:
                    continue
                stale = not moved and self._channels.may_have_moved(error)
                pause = backoff.next(error.retry_delay) if stale or asks_for_retry(error) else None
                if pause is None:
                    raise
                if backoff.elapsed > WARN_SECONDS:
                    terminal.termwarn(f"{error}; trying for {GIVE_UP_SECONDS:.0f} s", repeat=False)
                if cancellation.pause(pause):
                    raise
            moved = moved or stale
            self._channels.reconnect()


class _Collecting(_Call):
    def __call__(self, requests: Iterator[Any], timeout: float | None = None, metadata: Any = None) -> Any:
        return self._complete(requests, timeout, metadata)


class _Streaming(_Call):
    def __call__(self, request: Any, timeout: float | None = None, metadata: Any = None) -> Replies:
        cuts = forking.cuts()
        try:
            with forking.running():
                call = self._begin(request, timeout, metadata)
                ended = forking.stream_began()
        except ValueError:
            if forking.cuts() != cuts:
                raise _was_cut() from None
            raise
        call.add_done_callback(lambda _: ended())
        return Replies(call, self._channels, cuts)


class Replies:
    """The replies of a stream. Errors are those of `modelyard.errors`."""

    def __init__(self, call: Any, channels: Channels, cuts: int) -> None:
        self._call = call
        self._channels = channels
        self._cuts = cuts

    def __iter__(self) -> Replies:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as failure:
            if failure.code() is grpc.StatusCode.CANCELLED and forking.cuts() != self._cuts:
                raise _was_cut() from None
            raise _raised(failure, self._channels) from None

    def cancel(self) -> None:
        """Cancels the call."""
        self._call.cancel()


def _was_cut() -> errors.ServerStopping:
    return errors.ServerStopping("the call was cancelled because this process forks", retry_delay=0.05)


def _identify(request: Any) -> None:
    """Sets the `request_id` of a write, the same for every attempt, so that it can be retried."""
    if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
        request.request_id = uuid.uuid4().hex


def trace_context() -> tuple[tuple[str, str], ...]:
    """The current span as W3C's `traceparent`, if the process uses OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    current = getattr(trace, "get_current_span", None)  # missing while another thread imports it
    if current is None:
        return ()
    span = current().get_span_context()
    if not span.is_valid:
        return ()
    return ((TRACEPARENT, f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"),)


def _raised(failure: grpc.RpcError, channels: Channels) -> errors.CommError:
    """The error to raise; for a call that reached no server, with the reason."""
    told = failure.details() or ""
    if failure.code() is grpc.StatusCode.UNAVAILABLE and told.startswith(_NOT_CONNECTED):
        return channels.explain(told)
    return translate(failure, channels.describe())


def translate(failure: grpc.RpcError, server: str) -> errors.CommError:
    """The class of modelyard.errors that the server raised."""
    status = failure.code()
    message = failure.details() or status.name
    detailed = _from_details(failure, message)
    if detailed is not None:
        return detailed
    if _was_ended_by_the_other_side(status, message):
        return errors.ServerStopping(
            f"the modelyard server at {server}, or a balancer before it, ended the call without an answer "
            f"({status.name}: {message})"
        )
    if status is grpc.StatusCode.UNAVAILABLE:
        message = f"the modelyard server at {server} cannot be reached ({message})"
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = _no_answer(server)
    return _BY_STATUS.get(status, errors.CommError)(message)


def _no_answer(server: str) -> str:
    return f"the modelyard server at {server} did not answer in time; the call may have taken effect"


def _is_cancelled(failure: Exception) -> bool:
    return isinstance(failure, grpc.RpcError) and failure.code() is grpc.StatusCode.CANCELLED


def _was_ended_by_the_other_side(status: grpc.StatusCode, told: str) -> bool:
    """Whether a call without an ErrorInfo was given up by a server that stops, or by a balancer.

    gRPC's server does this, with CANCELLED, to calls that have arrived but that it has not begun to
    serve when it stops.
    """
    if status is grpc.StatusCode.CANCELLED:
        return not told.startswith(_CANCELLED_HERE)
    if status in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}:
        return _STREAM_ENDED.search(told) is not None
    return False


def _from_details(failure: grpc.RpcError, message: str) -> errors.CommError | None:
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    try:
        status = rpc_status.from_call(failure)
    except ValueError:  # the trailing status has another code than the call: ignore both
        return None
    if status is None:
        return None
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    delay: float | None = None
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(request.DESCRIPTOR):
            detail.Unpack(request)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            delay = retry.retry_delay.ToTimedelta().total_seconds()
    if info.domain != ERROR_DOMAIN:
        return None
    kind = errors.BY_REASON.get(info.reason)
    metadata = dict(info.metadata)
    if kind is None:  # of a newer server
        kind = _BY_STATUS.get(failure.code(), errors.CommError)
        metadata["reason"] = info.reason
    violations = [(violation.field, violation.description) for violation in request.field_violations]
    return kind(status.message or message, violations=violations, metadata=metadata, retry_delay=delay)
