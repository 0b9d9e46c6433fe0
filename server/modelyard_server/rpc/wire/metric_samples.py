"""Keys and samples of metrics: requests → arguments, results → messages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.v1 import metric_pb2 as pb
from modelyard_server.db.tables import MetricLog
from modelyard_server.domain.series import keys
from modelyard_server.domain.series.query import STEP, TIMESTAMP, Query, is_of_rows
from modelyard_server.rpc.wire import arguments, metric_batches

if TYPE_CHECKING:
    from modelyard_server.domain.series.buckets import Sample

RUNS, KEYS, BUCKETS, ALL_BUCKETS = 100, 1000, 10_000, 10_000_000
"""The most runs, metrics, buckets of a series, and buckets in all."""
DEFAULT_BUCKETS = 1000
_BUCKETS_AT_ONCE = 50_000
"""Buckets that one transaction makes: about 5 MiB of messages."""


class Wanted(NamedTuple):
    """A checked request for samples."""

    query: Query
    stream: int
    attempt: int | None
    """None for the latest of each run."""

    @property
    def keys_at_once(self) -> int:
        """How many metrics one transaction reads."""
        return max(1, _BUCKETS_AT_ONCE // self.query.buckets)


def parse(request: pb.SampleMetricsRequest) -> Wanted:
    """The arguments of SampleMetrics. Raises InvalidField."""
    stream = metric_batches.stream(request.stream)
    _check_count("run_ids", len(request.run_ids), RUNS)
    _check_count("keys", len(request.keys), KEYS)
    for field, given in (("run_ids", request.run_ids), ("keys", request.keys)):
        if len(set(given)) < len(given):
            raise errors.InvalidField.of(field, "names one twice")
    if not 0 <= request.bucket_count <= BUCKETS:
        raise errors.InvalidField.of(
            "bucket_count", f"is {request.bucket_count}; expected 1 to {BUCKETS}, or 0 for the default"
        )
    buckets = request.bucket_count or DEFAULT_BUCKETS
    total = len(request.run_ids) * len(request.keys) * buckets
    if total > ALL_BUCKETS:
        raise errors.InvalidField.of(
            "bucket_count", f"asks for {total} buckets of all runs and keys; at most {ALL_BUCKETS}"
        )
    axis = request.x_axis or (TIMESTAMP if stream == pb.METRIC_STREAM_SYSTEM else STEP)
    if axis.startswith("_") and not is_of_rows(axis):
        raise errors.InvalidField.of(
            "x_axis", f"is {axis[:50]!r}; expected _step, _timestamp, _runtime or the name of a metric"
        )
    attempt = arguments.optional(request, "attempt")
    if attempt is not None and len(request.run_ids) > 1:
        raise errors.InvalidField.of("attempt", "is allowed for one run only")
    return Wanted(Query(axis, *_range(request), buckets), stream, attempt)


def message(run_id: str, key: str, sample: Sample) -> pb.SampleMetricsResponse:
    """One sample as a message."""
    return pb.SampleMetricsResponse(
        run_id=run_id,
        key=key,
        start_x=sample.grid.start,
        bucket_width=sample.grid.width,
        point_count=int(sample.counts.sum() + sample.nonfinite.sum()),
        buckets=sample.buckets.tolist(),
        counts=sample.counts.tolist(),
        nonfinite_counts=sample.nonfinite.tolist(),
        mins=sample.mins.tolist(),
        maxes=sample.maxes.tolist(),
        firsts=sample.firsts.tolist(),
        lasts=sample.lasts.tolist(),
        sums=sample.sums.tolist(),
        first_xs=sample.first_xs.tolist(),
        last_xs=sample.last_xs.tolist(),
        min_xs=sample.min_xs.tolist(),
        max_xs=sample.max_xs.tolist(),
        first_value_xs=sample.first_value_xs.tolist(),
        last_value_xs=sample.last_value_xs.tolist(),
    )


def key_page(
    session: Session, log: MetricLog, request: pb.ListMetricKeysRequest, size: int
) -> tuple[list[pb.MetricKey], str]:
    """A page of the metrics of a log, as messages."""
    found, token = keys.page(
        session,
        log,
        metric_batches.BatchKeys,
        text=request.text,
        page_size=size,
        page_token=request.page_token,
    )
    return [_key_message(row) for row in found], token


def _key_message(row: keys.KeyRow) -> pb.MetricKey:
    numbers = row.number_count == row.point_count
    return pb.MetricKey(
        key=row.key,
        kind=pb.METRIC_KIND_NUMBER if numbers else pb.METRIC_KIND_OTHER,
        point_count=row.point_count,
        first_step=row.first_step,
        last_step=row.last_step,
    )


def _range(request: pb.SampleMetricsRequest) -> tuple[float | None, float | None]:
    start = request.min_x if request.HasField("min_x") else None
    end = request.end_x if request.HasField("end_x") else None
    for field, value in (("min_x", start), ("end_x", end)):
        if value is not None and not math.isfinite(value):
            raise errors.InvalidField.of(field, f"is {value}; leave it unset for no bound")
    if start is not None and end is not None and end <= start:
        raise errors.InvalidField.of("end_x", f"is {end}, which is not after min_x, {start}")
    return start, end


def _check_count(field: str, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise errors.InvalidField.of(field, f"has {count} entries; expected 1 to {most}")
