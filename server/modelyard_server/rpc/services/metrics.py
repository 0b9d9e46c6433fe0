"""MetricService: metrics of runs."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.v1 import metric_pb2 as pb
from modelyard_server.db.engine import one_snapshot
from modelyard_server.db.tables import PACK_WEIGHT
from modelyard_server.db.upserts import batches
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.runs import metrics, runs
from modelyard_server.domain.runs.run_maps import Attempt
from modelyard_server.domain.series import logs
from modelyard_server.rpc.dispatch.call import Call, StreamCall, prepared_by
from modelyard_server.rpc.dispatch.stream_limits import StreamLimit
from modelyard_server.rpc.wire import arguments, convert, metric_batches, metric_samples, pages

_MOST_WAITING = 16 * PACK_WEIGHT
SCAN_BYTES = 4 << 20
"""Bytes of batches that a scan reads at a time."""


class MetricServicer:
    """MetricService; the rules are in `domain/runs`."""

    def __init__(self, streams: StreamLimit, wake_packing: Callable[[], None]) -> None:
        self._streams = streams
        self._wake_packing = wake_packing

    @prepared_by(lambda _, request: metric_batches.parse(request))
    def LogMetrics(self, request: pb.LogMetricsRequest, call: Call) -> pb.LogMetricsResponse:
        stored = _log(call.session, call.principal, request, call.prepared)
        if stored.is_due:
            self._wake_packing()
        return pb.LogMetricsResponse(duplicate=stored.duplicate, row_count=stored.row_count)

    async def LogMetricBatches(
        self, requests: AsyncIterator[pb.LogMetricBatchesRequest], call: StreamCall
    ) -> pb.LogMetricBatchesResponse:
        self._streams.enter(call.principal)
        reply = pb.LogMetricBatchesResponse()
        async for message in requests:
            try:
                batch = await asyncio.to_thread(metric_batches.parse, message.batch)
                log = functools.partial(_log, principal=call.principal, request=message.batch, batch=batch)
                stored = await call.write(log)
            except errors.CommError as error:
                index = reply.stored_count + reply.duplicate_count
                raise _within(f"requests[{index}]", error) from None
            if stored.is_due:
                self._wake_packing()
            reply.duplicate_count += stored.duplicate
            reply.stored_count += not stored.duplicate
        return reply

    def ListMetricKeys(self, request: pb.ListMetricKeysRequest, call: Call) -> pb.ListMetricKeysResponse:
        stream, attempt = metric_batches.stream(request.stream), arguments.optional(request, "attempt")
        one_snapshot(call.session)
        view = runs.find(call.session, call.principal, request.run_id, name="run_id", attempt=attempt)
        log = logs.find(call.session, view.attempt, stream)
        found, token = pages.fitting(
            lambda size: metric_samples.key_page(call.session, log, request, size), request.page_size
        )
        return pb.ListMetricKeysResponse(keys=found, next_page_token=token)

    async def SampleMetrics(
        self, request: pb.SampleMetricsRequest, call: StreamCall
    ) -> AsyncIterator[Any]:  # encoded messages
        wanted = metric_samples.parse(request)
        self._streams.enter(call.principal)
        for run_id in request.run_ids:
            for keys in batches(request.keys, wanted.keys_at_once):
                look = functools.partial(
                    _samples, principal=call.principal, run_id=run_id, keys=keys, wanted=wanted
                )
                for message in await call.read(look):
                    yield message

    async def ScanMetricHistory(
        self, request: pb.ScanMetricHistoryRequest, call: StreamCall
    ) -> AsyncIterator[Any]:  # encoded messages
        _check_scan(request)
        self._streams.enter(call.principal)
        view = await call.read(
            lambda session: runs.find(
                session,
                call.principal,
                request.run_id,
                name="run_id",
                attempt=arguments.optional(request, "attempt"),
            )
        )
        position: metrics.Position | None = metrics.START
        if request.keys:
            of_series = await call.read(
                functools.partial(_scan_series, request=request, attempt=view.attempt)
            )
            if of_series is not None:
                position = None
                for message in of_series:
                    yield message
        while position is not None:
            look = functools.partial(_scan, request=request, attempt=view.attempt, position=position)
            messages, position = await call.read(look)
            for message in messages:
                yield message


def _log(
    session: Session, principal: Principal, request: pb.LogMetricsRequest, batch: metrics.Batch
) -> metrics.Stored:
    if request.summary_mode not in pb.SummaryMode.values():
        raise errors.InvalidField.of(
            "summary_mode", f"{request.summary_mode} is not a mode this server knows"
        )
    return metrics.log(
        session,
        principal,
        request.run_id,
        batch,
        summarize=request.summary_mode != pb.SUMMARY_MODE_GIVEN,
        summary=convert.values_to_json(request.summary, "summary"),
        late=request.late,
        attempt=arguments.optional(request, "attempt"),
    )


def _samples(
    session: Session,
    principal: Principal,
    run_id: str,
    keys: Sequence[str],
    wanted: metric_samples.Wanted,
) -> list[bytes]:
    """The encoded samples of some metrics of a run."""
    # NumPy is loaded by the first sample.
    from modelyard_server.domain.series import sampling

    one_snapshot(session)
    view = runs.find(session, principal, run_id, name="run_ids", attempt=wanted.attempt)
    log = logs.find(session, view.attempt, wanted.stream)
    query = wanted.query._replace(started=view.row.created_at / 1e6)
    return [
        metric_samples.message(view.run.id, key, sample).SerializeToString()
        for key, sample in sampling.sample(session, log, keys, query, metric_batches.decode)
    ]


def _within(place: str, error: errors.CommError) -> errors.CommError:
    """The error, with its message and fields placed in the stream."""
    error.message = f"{place}: {error.message}"
    error.violations = tuple((f"{place}.{field}", text) for field, text in error.violations)
    return error


def _scan_series(
    session: Session, request: pb.ScanMetricHistoryRequest, attempt: Attempt
) -> list[bytes] | None:
    """All encoded replies of a scan of few metrics; None if the batches have to be read."""
    one_snapshot(session)
    log = logs.find(session, attempt, metric_batches.stream(request.stream))
    if not log.packed_id or log.waiting > _MOST_WAITING:
        return None
    # NumPy is loaded by the first scan of what was packed.
    from modelyard_server.domain.series import scans

    keys, min_step, end_step = _wanted_rows(request)
    packed = scans.packed_rows(session, log, keys, min_step, end_step)
    if packed is None:
        return None
    batches_ = [metric_batches.of_series(rows) for rows in packed]
    for payload in logs.waiting(session, log):
        batch = metric_batches.select(pb.MetricBatch.FromString(payload), keys, min_step, end_step)
        batches_ += [batch] if batch is not None else []
    batches_.sort(key=lambda batch: batch.steps[0])
    return [pb.ScanMetricHistoryResponse(batch=batch).SerializeToString() for batch in batches_]


def _wanted_rows(request: pb.ScanMetricHistoryRequest) -> tuple[set[str], int, int | None]:
    """The metrics of a scan, its first step, and the step after the last one."""
    return set(request.keys), request.min_step, request.end_step if request.HasField("end_step") else None


def _scan(
    session: Session, request: pb.ScanMetricHistoryRequest, attempt: Attempt, position: metrics.Position
) -> tuple[list[bytes], metrics.Position | None]:
    """The next encoded replies of a scan, and the position after them; None at the end.

    It runs on the database's thread, since selecting rows of large batches takes long.
    """
    keys, min_step, end_step = _wanted_rows(request)
    found = metrics.batches_after(
        session,
        attempt,
        position,
        stream=metric_batches.stream(request.stream),
        min_step=min_step,
        end_step=end_step,
        most_bytes=SCAN_BYTES,
    )
    messages = []
    for _, payload in found:
        batch = metric_batches.select(pb.MetricBatch.FromString(payload), keys, min_step, end_step)
        if batch is not None:
            messages.append(pb.ScanMetricHistoryResponse(batch=batch).SerializeToString())
    return messages, found[-1][0] if found else None


def _check_scan(request: pb.ScanMetricHistoryRequest) -> None:
    metric_batches.stream(request.stream)
    if request.min_step < 0:
        raise errors.InvalidField.of("min_step", f"is {request.min_step}; a step is 0 to 2^53")
    if request.end_step < 0:
        raise errors.InvalidField.of("end_step", f"is {request.end_step}; leave it unset for no end")
