"""The rows of a run, from the batches they are stored in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modelyard.contract import errors
from modelyard.rpc import messages
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import Retrier
from modelyard.v1 import metric_pb2 as pb


def rows(
    connection: Connection,
    run_id: str,
    started: float,
    keys: Sequence[str],
    min_step: int,
    end_step: int | None,
) -> Iterator[dict[str, Any]]:
    """Rows in order of their batches; `run_id` is the global id, `started` in seconds since 1970."""
    request = pb.ScanMetricHistoryRequest(run_id=run_id, keys=keys, min_step=min_step, end_step=end_step)
    for batch in _batches(connection, request):
        yield from _rows_of(batch, started)


def _batches(connection: Connection, request: pb.ScanMetricHistoryRequest) -> Iterator[pb.MetricBatch]:
    """The batches of a scan, which is repeated until its first batch has come.

    Later it cannot continue where it broke: how rows are grouped into batches is not promised.
    """
    retrier = Retrier(connection)
    begun = False
    while True:
        channel = connection.channel
        try:
            for reply in connection.metrics.ScanMetricHistory(request):
                begun = True
                yield reply.batch
            return
        except errors.CommError as error:
            if begun:
                raise
            retrier.wait(error, channel)


def _rows_of(batch: pb.MetricBatch, started: float) -> Iterator[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in batch.steps]
    for column in batch.columns:
        points: Sequence[Any] = (
            column.doubles or column.ints or [messages.value(item) for item in column.values]
        )
        for index, point in zip(column.rows or range(len(batch.steps)), points, strict=True):
            found[index][column.key] = point
    for row, step, moment in zip(found, batch.steps, batch.timestamps, strict=True):
        if row:
            yield {**row, "_step": step, "_timestamp": moment, "_runtime": moment - started}
