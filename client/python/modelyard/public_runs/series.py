"""The metrics of a run, and their curves as the server reduces them to buckets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from modelyard.rpc.connection import Connection
from modelyard.rpc.list_calls import pages
from modelyard.rpc.metric_scan import Source
from modelyard.v1 import metric_pb2 as pb

_KEYS_AT_ONCE = 100
_KEYS_IN_A_PAGE = 10_000


class Metric(NamedTuple):
    """A metric of a run: how many points it has, and the steps of the first and the last."""

    key: str
    is_number: bool
    point_count: int
    first_step: int
    last_step: int


class Series(NamedTuple):
    """A curve: for each part of the run the value that stands out, so that no peak is lost."""

    key: str
    points: list[float]
    least: float
    largest: float
    last: float


def metrics(connection: Connection, source: Source) -> list[Metric]:
    """The metrics of a run, by name."""
    request = pb.ListMetricKeysRequest(**_of(source), page_size=_KEYS_IN_A_PAGE)
    return [
        Metric(
            each.key, each.kind == pb.METRIC_KIND_NUMBER, each.point_count, each.first_step, each.last_step
        )
        for page in pages(connection.metrics.ListMetricKeys, request)
        for each in page.keys
    ]


def curves(connection: Connection, source: Source, keys: Sequence[str], buckets: int) -> Iterator[Series]:
    """The curves of metrics that have finite points, by name."""
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        fields = _of(source)
        run_id = fields.pop("run_id")
        request = pb.SampleMetricsRequest(
            run_ids=[run_id], keys=keys[start : start + _KEYS_AT_ONCE], bucket_count=buckets, **fields
        )
        for reply in connection.metrics.SampleMetrics(request):
            series = _series(reply)
            if series is not None:
                yield series


def latest(connection: Connection, source: Source) -> dict[str, float]:
    """The last finite value of each metric, by name."""
    keys = [each.key for each in metrics(connection, source) if each.is_number]
    return {each.key: each.last for each in curves(connection, source, keys, 1)}


def _of(source: Source) -> dict[str, Any]:
    stream = pb.METRIC_STREAM_SYSTEM if source.system else pb.METRIC_STREAM_HISTORY
    return {
        "run_id": source.run_id,
        "stream": stream,
        **({"attempt": source.attempt} if source.attempt else {}),
    }


def _series(reply: pb.SampleMetricsResponse) -> Series | None:
    # A bucket without a finite value has a count of 0, and NaN for its values.
    finite = [index for index, count in enumerate(reply.counts) if count]
    if not finite:
        return None
    mean = sum(reply.sums[index] / reply.counts[index] for index in finite) / len(finite)
    points = [
        max((reply.mins[index], reply.maxes[index]), key=lambda value: abs(value - mean)) for index in finite
    ]
    least = min(reply.mins[index] for index in finite)
    largest = max(reply.maxes[index] for index in finite)
    return Series(reply.key, points, least, largest, reply.lasts[finite[-1]])
