"""The metrics of a run, and their curves as the server reduces them to buckets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from modelyard.rpc import metric_scan
from modelyard.rpc.connection import Connection
from modelyard.rpc.list_calls import pages
from modelyard.rpc.metric_scan import Source
from modelyard.v1 import metric_pb2 as pb

_KEYS_AT_ONCE = 100
_KEYS_IN_A_PAGE = 10_000
_SAMPLED_POINTS = 20_000
"""Of fewer points, all rows are read: that takes about as long, and rows keep what they hold."""
_EXACT = 2**53


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
        _as_metric(each) for page in pages(connection.metrics.ListMetricKeys, request) for each in page.keys
    ]


def curves(connection: Connection, source: Source, keys: Sequence[str], buckets: int) -> Iterator[Series]:
    """The curves of metrics that have finite points, by name."""
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        request = _sample_request(source, keys[start : start + _KEYS_AT_ONCE], buckets)
        for reply in connection.metrics.SampleMetrics(request):
            series = _series(reply)
            if series is not None:
                yield series


def points(
    connection: Connection, source: Source, key: str, x_axis: str, most: int
) -> list[tuple[float, float]] | None:
    """Logged points of a metric that show its course, as (x, value): at most `most`, which is at least 4.

    Of each part of the run the first, the least, the largest and the last. `x_axis` is
    `_step`, `_timestamp` or `_runtime`. None where the server's sample does not have
    points as they were logged: for values that are no finite numbers, for whole numbers
    beyond 2^53 or among fractions, and for few points.
    """
    metric = _metric(connection, source, key)
    if metric is None or not metric.is_number or metric.point_count < max(_SAMPLED_POINTS, most):
        return None
    kinds = {type(value) for value in _ends(connection, source, metric)}
    if len(kinds) != 1:
        return None
    found = _reduced(connection, source, key, x_axis, most // 4)
    if found is not None and 2 * len(found) <= most:  # a curve that rises has its extremes at the ends
        found = _reduced(connection, source, key, x_axis, most // 2)
    if found is None or kinds == {float}:
        return found
    if any(abs(value) > _EXACT or not value.is_integer() for _, value in found):
        return None
    return [(x, int(value)) for x, value in found]


def _metric(connection: Connection, source: Source, key: str) -> Metric | None:
    request = pb.ListMetricKeysRequest(**_of(source), text=key, page_size=_KEYS_IN_A_PAGE)
    for page in pages(connection.metrics.ListMetricKeys, request):
        for each in page.keys:
            if each.key == key:
                return _as_metric(each)
    return None


def _ends(connection: Connection, source: Source, metric: Metric) -> Iterator[Any]:
    """The points of a metric at its first and at its last step."""
    for step in (metric.first_step, metric.last_step):
        for batch in metric_scan.batches(connection, source, [metric.key], step, step + 1):
            yield from batch.columns[metric.key].points if batch.steps else ()


def _reduced(
    connection: Connection, source: Source, key: str, x_axis: str, buckets: int
) -> list[tuple[float, float]] | None:
    """The distinct points of buckets; None if some are not finite, or their x is not known."""
    request = _sample_request(source, [key], buckets)
    request.x_axis = x_axis
    found: set[tuple[float, float]] = set()
    for reply in connection.metrics.SampleMetrics(request):
        if any(reply.nonfinite_counts) or len(reply.min_xs) < len(reply.mins):
            return None
        found.update(zip(reply.first_value_xs, reply.firsts, strict=True))
        found.update(zip(reply.min_xs, reply.mins, strict=True))
        found.update(zip(reply.max_xs, reply.maxes, strict=True))
        found.update(zip(reply.last_value_xs, reply.lasts, strict=True))
    return sorted(found)


def latest(connection: Connection, source: Source) -> dict[str, float]:
    """The last finite value of each metric, by name."""
    keys = [each.key for each in metrics(connection, source) if each.is_number]
    return {each.key: each.last for each in curves(connection, source, keys, 1)}


def _as_metric(each: pb.MetricKey) -> Metric:
    is_number = each.kind == pb.METRIC_KIND_NUMBER
    return Metric(each.key, is_number, each.point_count, each.first_step, each.last_step)


def _sample_request(source: Source, keys: Sequence[str], buckets: int) -> pb.SampleMetricsRequest:
    fields = _of(source)
    run_id = fields.pop("run_id")
    return pb.SampleMetricsRequest(run_ids=[run_id], keys=keys, bucket_count=buckets, **fields)


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
