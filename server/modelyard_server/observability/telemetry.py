"""Metrics and spans. They cost next to nothing unless an exporter is attached.

Every part of the server may import this module; it imports none of them.
`exporters` attaches prometheus-client and OpenTelemetry when an option asks
for them. Labels and attributes are names of methods, pools and steps, never
anything that a client sent.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Protocol, TypeVar

T = TypeVar("T")

_CALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Span(Protocol):
    """A span that was started."""

    trace_id: str
    """32 hexadecimal digits; empty where the span is not recorded."""

    def end(self, attributes: Mapping[str, str | int], error: str = "") -> None:
        """Ends the span. `error` must not contain anything that a client sent."""


class Tracer(Protocol):
    """Makes spans."""

    def serve(self, method: str, metadata: Any) -> Span:
        """Starts the span of a call. Its parent is the metadata's `traceparent`, if there is one."""

    def within(self, parent: Span, name: str) -> Span:
        """Starts a span inside another one."""


@dataclass(eq=False)
class Metric:
    """A metric. It counts once an exporter is attached."""

    kind: ClassVar[str]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    sink: Any = field(default=None, init=False)
    """prometheus-client's metric."""

    def of(self, labels: tuple[str, ...]) -> Any:
        """The series of these labels."""
        return self.sink.labels(*labels) if labels else self.sink


@dataclass(eq=False)
class Counter(Metric):
    """A value that only grows."""

    kind = "counter"

    def add(self, amount: float, *labels: str) -> None:
        """Adds `amount`."""
        if self.sink is not None:
            self.of(labels).inc(amount)


@dataclass(eq=False)
class Histogram(Metric):
    """A distribution of durations, in seconds."""

    kind = "histogram"
    buckets: tuple[float, ...] = _CALL_SECONDS

    def observe(self, seconds: float, *labels: str) -> None:
        """Adds one duration."""
        if self.sink is not None:
            self.of(labels).observe(seconds)


@dataclass(eq=False)
class Gauge(Metric):
    """A value that is read when the metrics are scraped."""

    kind = "gauge"

    def watch(self, read: Callable[[], float], *labels: str) -> None:
        """Registers a function for the value. It is called on the exporter's thread."""
        if self.sink is not None:
            self.of(labels).set_function(read)


REQUESTS = Counter("modelyard_requests_total", "Calls that ended, by their gRPC status", ("method", "status"))
REQUEST_SECONDS = Histogram(
    "modelyard_request_seconds", "What calls took; streams from first to last message", ("method",)
)
RECEIVED = Counter("modelyard_received_bytes_total", "Bytes of the messages received", ("method",))
SENT = Counter("modelyard_sent_bytes_total", "Bytes of the messages sent", ("method",))
CALLS = Gauge("modelyard_active_calls", "Calls being served")
STREAMS = Gauge(
    "modelyard_open_streams",
    "Streams being served: `upload`, `commit`, `download`, `scan` (of metrics), `watch` (the watchers)",
    ("kind",),
)
STREAM_LIMIT = Gauge("modelyard_stream_limit", "Streams after which more are refused", ("kind",))
ASKED_CHUNKS = Counter(
    "modelyard_asked_chunks_total",
    "Chunks that uploads asked about: `present` ones are deduplicated, `missing` ones are sent",
    ("answer",),
)
ASKED_BYTES = Counter("modelyard_asked_bytes_total", "Their bytes", ("answer",))
PACKS = Counter("modelyard_packs_total", "Packs made durable and published")
PACK_BYTES = Counter("modelyard_pack_bytes_total", "Their bytes")
PACK_SECONDS = Histogram(
    "modelyard_pack_seconds", "What the steps of a pack took: `intent`, `put`, `publish`", ("step",)
)
UPLOAD_MEMORY = Gauge("modelyard_upload_memory_bytes", "Bytes of uploads that the process holds")
UPLOAD_MEMORY_LIMIT = Gauge(
    "modelyard_upload_memory_limit_bytes", "The budget: uploads wait when it is spent"
)
UPLOADS_WAITING = Gauge("modelyard_upload_memory_waiting", "Uploads that wait for the budget")
COLLECTED = Counter(
    "modelyard_collected_total",
    "What the collector freed: `files`, `chunks` (rows), `trash` (packs given up), `packs` and `strays` "
    "(objects deleted), `moved` (chunks copied out of mostly dead packs)",
    ("kind",),
)
COLLECTED_BYTES = Counter("modelyard_collected_bytes_total", "Their bytes", ("kind",))
STORE_READ_SECONDS = Histogram("modelyard_store_read_seconds", "What reads of packs took")
STORE_READ_BYTES = Counter("modelyard_store_read_bytes_total", "Bytes read from packs")
TRANSACTION_SECONDS = Histogram(
    "modelyard_transaction_seconds", "What database transactions took, with their repetitions", ("kind",)
)
TRANSACTION_RETRIES = Counter(
    "modelyard_transaction_retries_total", "Times that a transaction lost against another and ran again"
)
POOL_WAIT_SECONDS = Histogram("modelyard_pool_wait_seconds", "How long work waited for a thread", ("pool",))
POOL_QUEUE = Gauge("modelyard_pool_queue", "Work that waits for a thread", ("pool",))
POOL_BUSY = Gauge("modelyard_pool_busy_threads", "Threads at work", ("pool",))
POOL_THREADS = Gauge("modelyard_pool_threads", "Threads there are at most", ("pool",))

METRICS: tuple[Metric, ...] = tuple(value for value in globals().values() if isinstance(value, Metric))
"""All metrics, in the order of the table in the documentation."""

_tracer: Tracer | None = None
_listening = False
_NO_STEP: AbstractContextManager[None] = nullcontext()
_current: contextvars.ContextVar[Span | None] = contextvars.ContextVar("span", default=None)


def listen(sinks: Mapping[str, Any]) -> None:
    """Attaches metrics of prometheus-client, by name."""
    global _listening
    for metric in METRICS:
        metric.sink = sinks[metric.name]
    _listening = True


def trace(tracer: Tracer) -> None:
    """Attaches a tracer."""
    global _tracer
    _tracer = tracer


def is_listening() -> bool:
    """Whether metrics are exported."""
    return _listening


def begin_call(method: str, metadata: Any) -> Span | None:
    """Starts the span of a call and makes it current for the task; None without a tracer."""
    if _tracer is None:
        return None
    # No reset: each call is served in a task, and so in a context, of its own.
    span = _tracer.serve(method, metadata)
    _current.set(span)
    return span


def step(name: str, seconds: Histogram, *labels: str) -> AbstractContextManager[None]:
    """Measures a part of a call that runs on one thread, and makes a span of it inside the current one."""
    if not _listening and _tracer is None:
        return _NO_STEP
    return _Step(name, seconds, labels)


def in_current_span(work: Callable[[], T]) -> Callable[[], T]:
    """The work, to be run on any thread as a part of the current span."""
    return work if _tracer is None else partial(contextvars.copy_context().run, work)


def threads(pool: str, count: int) -> ThreadPoolExecutor:
    """A thread pool. With an exporter, it reports its state and runs work in the span of the submitter."""
    if not _listening and _tracer is None:
        return ThreadPoolExecutor(count, pool)
    return _Threads(pool, count)


class _Step:
    def __init__(self, name: str, seconds: Histogram, labels: tuple[str, ...]) -> None:
        self._name = name
        self._seconds = seconds
        self._labels = labels

    def __enter__(self) -> None:
        self._begin = time.perf_counter()
        parent = _current.get()
        self._span = None
        if _tracer is not None and parent is not None:
            self._span = _tracer.within(parent, self._name)
            self._token = _current.set(self._span)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds.observe(time.perf_counter() - self._begin, *self._labels)
        if self._span is not None:
            _current.reset(self._token)
            self._span.end({}, kind.__name__ if kind is not None else "")


class _Threads(ThreadPoolExecutor):
    """Counts waiting and running work, and runs work in the context of its submitter."""

    def __init__(self, pool: str, count: int) -> None:
        super().__init__(count, pool)
        self._pool = pool
        self._counting = threading.Lock()
        self._waiting = 0
        self._busy = 0
        POOL_QUEUE.watch(lambda: self._waiting, pool)
        POOL_BUSY.watch(lambda: self._busy, pool)
        POOL_THREADS.watch(lambda: count, pool)

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Submits work, as `ThreadPoolExecutor.submit` does."""
        context = contextvars.copy_context()
        with self._counting:
            self._waiting += 1
        future = super().submit(self._run, time.perf_counter(), context, work, args, kwargs)
        future.add_done_callback(self._uncount_cancelled)
        return future

    def _run(
        self,
        asked: float,
        context: contextvars.Context,
        work: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> T:
        POOL_WAIT_SECONDS.observe(time.perf_counter() - asked, self._pool)
        with self._counting:
            self._waiting -= 1
            self._busy += 1
        try:
            return context.run(work, *args, **kwargs)
        finally:
            with self._counting:
                self._busy -= 1

    def _uncount_cancelled(self, future: Future[Any]) -> None:
        if future.cancelled():  # before it ran
            with self._counting:
                self._waiting -= 1
