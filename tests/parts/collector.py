"""A receiver of OpenTelemetry's traces: OTLP over gRPC, from the protocol's own generated service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it arrived; ids in hexadecimal digits, `parent` empty for the first of its trace."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: Mapping[str, str | int]
    resource: Mapping[str, str | int]
    failed: bool


class Collector(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]  # has no types
    """Keeps every span it is sent, and the metadata that came with them."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[ReceivedSpan] = []
        self.metadata: list[tuple[str, str]] = []

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # the method's name on the wire
        self.metadata += context.invocation_metadata()
        for resource_spans in request.resource_spans:
            resource = _attributes(resource_spans.resource.attributes)
            for scope in resource_spans.scope_spans:
                self.spans += [_received(span, resource) for span in scope.spans]
        return pb.ExportTraceServiceResponse()

    def wait_for(self, wanted: Callable[[ReceivedSpan], bool]) -> ReceivedSpan:
        """The first span of this kind, once it has arrived."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            for span in list(self.spans):
                if wanted(span):
                    return span
            time.sleep(0.05)
        raise AssertionError(f"no such span among {[span.name for span in self.spans]}")

    def children(self, parent: ReceivedSpan) -> list[ReceivedSpan]:
        """The spans right below another one that have arrived."""
        return [span for span in self.spans if (span.trace, span.parent) == (parent.trace, parent.id)]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on a free port of this machine."""
    receiver = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    receiver.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield receiver
    server.stop(None).wait()


def _received(span: Any, resource: Mapping[str, str | int]) -> ReceivedSpan:
    return ReceivedSpan(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _attributes(span.attributes),
        resource,
        span.status.code == span.status.STATUS_CODE_ERROR,
    )


def _attributes(found: Any) -> dict[str, str | int]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}
