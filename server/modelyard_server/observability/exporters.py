"""Exports metrics by prometheus-client over HTTP, and spans by OpenTelemetry over OTLP.

Both libraries come with the extra `observability`, and are imported only when
an option asks for them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from modelyard.contract.streams import say
from modelyard.contract.transport import TRACEPARENT, TRACESTATE
from modelyard_server.observability import metrics_port, telemetry
from modelyard_server.release import VERSION
from modelyard_server.settings import Settings, StartError, bracketed

log = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_LAST_SECONDS = 1.0
"""How long a stopping server waits for its last spans to be sent."""


def start(settings: Settings, stack: ExitStack) -> None:
    """Starts the exporters that settings and OTEL_* variables ask for, until the stack ends.

    Raises StartError.
    """
    if settings.metrics_port is not None:
        _serve_metrics(settings.host, settings.metrics_port, stack)
    if settings.otel_endpoint:
        _export_spans(settings.otel_endpoint, stack)
    elif (endpoint := _from_environment(_ENDPOINTS)) and not settings.embedded:
        # Clusters may set these variables for every program, so an error here must not prevent the start.
        try:
            _export_spans(endpoint, stack)
        except StartError as error:
            log.warning("no traces: %s", error)


def metrics_line(host: str, port: int) -> str:
    """The line that a server prints when its metrics can be read."""
    return f"modelyard metrics http://{bracketed(host)}:{port}/metrics"


def _from_environment(names: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _serve_metrics(host: str, port: int, stack: ExitStack) -> None:
    try:
        import prometheus_client as prometheus
    except ImportError as error:
        raise _not_installed("--metrics-port", error) from error
    registry = prometheus.CollectorRegistry()
    prometheus.ProcessCollector(registry=registry)
    telemetry.listen(_sinks(prometheus, registry))
    try:
        server = metrics_port.listen(host.strip("[]"), port, prometheus.make_wsgi_app(registry))
    except OSError as error:
        raise StartError(
            f"--metrics-port: cannot listen on {bracketed(host)}:{port}: {error.strerror}"
        ) from error

    stack.callback(server.close)
    say(metrics_line(host, server.server_port))


def _sinks(prometheus: Any, registry: Any) -> dict[str, Any]:
    prometheus.disable_created_metrics()
    made = {}
    for metric in telemetry.METRICS:
        options: dict[str, Any] = {"registry": registry}
        if isinstance(metric, telemetry.Histogram):
            options["buckets"] = metric.buckets
        kind = getattr(prometheus, metric.kind.capitalize())
        made[metric.name] = kind(metric.name, metric.help, metric.labels, **options)
    return made


def _export_spans(endpoint: str, stack: ExitStack) -> None:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    protocol = _from_environment(_PROTOCOLS) or "grpc"
    if protocol != "grpc":
        raise StartError(
            f"traces are sent by OTLP over gRPC only, but OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: unset it"
        )
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise StartError(
            "--otel-endpoint takes http://host:port (plain) or https://host:port (TLS); "
            "credentials go into OTEL_EXPORTER_OTLP_HEADERS"
        )
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise _not_installed("--otel-endpoint", error) from error
    named = {"service.version": VERSION}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        named["service.name"] = "modelyard-server"
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    # The scheme decides about TLS.
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=parts.scheme == "http")
    provider.add_span_processor(BatchSpanProcessor(exporter))

    def end() -> None:
        # shutdown() sends what is queued without a time limit: do not wait long for an unreachable collector.
        sending = threading.Thread(target=provider.shutdown, daemon=True)
        sending.start()
        sending.join(_LAST_SECONDS)

    stack.callback(end)
    telemetry.trace(_Tracer(provider.get_tracer("modelyard_server", VERSION), trace))


def _not_installed(option: str, error: ImportError) -> StartError:
    return StartError(
        f"{option} needs {error.name or 'a library'}, which is not installed: "
        'pip install "modelyard[server,observability]"'
    )


class _Span:
    """Implements `telemetry.Span` by OpenTelemetry."""

    def __init__(self, span: Any, failed: Callable[[str], Any]) -> None:
        self.span = span
        self._failed = failed
        context = span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}" if context.trace_flags.sampled else ""

    def end(self, attributes: Mapping[str, str | int], error: str = "") -> None:
        self.span.set_attributes(attributes)
        if error:
            self.span.set_status(self._failed(error))
        self.span.end()


class _Tracer:
    """Implements `telemetry.Tracer` by OpenTelemetry, with its semantic conventions for RPC."""

    def __init__(self, tracer: Any, trace: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = tracer
        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()

    def serve(self, method: str, metadata: Any) -> _Span:
        carrier = {key: value for key, value in metadata if key in {TRACEPARENT, TRACESTATE}}
        service, _, name = method[1:].partition("/")
        return self._span(
            method[1:],
            self._propagator.extract(carrier),
            self._trace.SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        )

    def within(self, parent: telemetry.Span, name: str) -> _Span:
        assert isinstance(parent, _Span)
        context = self._trace.set_span_in_context(parent.span)
        return self._span(name, context, self._trace.SpanKind.INTERNAL, {})

    def _span(self, name: str, context: Any, kind: Any, attributes: Mapping[str, str]) -> _Span:
        started = self._tracer.start_span(name, context, kind, attributes)
        return _Span(started, lambda error: self._trace.Status(self._trace.StatusCode.ERROR, error))
