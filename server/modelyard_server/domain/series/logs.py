"""The log of a run's stream as readers see it: what is packed, and the batches that wait."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard_server.db.engine import BINARY_RESULTS
from modelyard_server.db.tables import MetricBatch, MetricLog
from modelyard_server.domain.runs.run_maps import Attempt


def find(session: Session, attempt: Attempt, stream: int) -> MetricLog:
    """The log of a stream; one without a row has packed nothing."""
    own = {"run_id": attempt.run_id, "attempt": attempt.number, "stream": stream}
    return session.scalar(select(MetricLog).filter_by(**own)) or MetricLog(**own, packed_id=0)


def waiting(session: Session, log: MetricLog) -> Iterator[bytes]:
    """The payloads of the batches that are not packed, in the order of their arrival."""
    yield from session.scalars(
        select(MetricBatch.payload)
        .where(
            MetricBatch.run_id == log.run_id,
            MetricBatch.attempt == log.attempt,
            MetricBatch.stream == log.stream,
            MetricBatch.id > log.packed_id,
        )
        .order_by(MetricBatch.id),
        execution_options=BINARY_RESULTS,
    )
