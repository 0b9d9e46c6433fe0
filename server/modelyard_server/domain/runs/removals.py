"""What deleted runs give back: metrics, maps, console, files, attempts and entries of the search index."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard_server.db import attributes, bounded
from modelyard_server.db.tables import (
    MetricBatch,
    MetricBlock,
    MetricKey,
    MetricLog,
    MetricSegment,
    RunFile,
    RunRemoval,
)
from modelyard_server.domain.runs import attempts, console_segments, run_maps

SWEEP_BATCH = 50
LARGE_ROWS = 100
"""The most rows of metrics that one transaction removes: each may have some MiB."""

SERIES_ROWS = 1000
"""The most rows of series: each has some kilobytes."""


def remove(session: Session, run_id: str) -> None:
    """Removes the rows of a deleted run. If they are many, the sweep removes the rest."""
    if not _remove_some(session, run_id):
        session.add(RunRemoval(run_id=run_id))


def remove_waiting(session: Session) -> int:
    """Removes rows that deletes left, as much as one transaction should.

    Returns the number of runs that are done; 50 if there may be more.
    """
    waiting = select(RunRemoval).order_by(RunRemoval.run_id).limit(SWEEP_BATCH)
    found = session.scalars(waiting.with_for_update(skip_locked=True)).all()
    for removal in found:
        if not _remove_some(session, removal.run_id):
            return SWEEP_BATCH
        session.delete(removal)
        session.flush()
    return len(found)


def _remove_some(session: Session, run_id: str) -> bool:
    """Removes rows of a run, as many as one transaction should; True if none is left."""
    return all(remove_(session, run_id, limit) < limit for remove_, limit in _OWNED)


def _remove_series(session: Session, run_id: str, limit: int) -> int:
    """Removes series of metrics; their logs last, whose absence ends packing."""
    own_logs = select(MetricLog.id).where(MetricLog.run_id == run_id)
    # Nobody stores new blocks until this transaction ends.
    logs = session.scalars(own_logs.order_by(MetricLog.id).with_for_update()).all()
    own_keys = select(MetricKey.id).where(MetricKey.log_id.in_(own_logs))
    left = limit
    for table, own in (
        (MetricSegment, MetricSegment.key_id.in_(own_keys)),
        (MetricBlock, MetricBlock.log_id.in_(own_logs)),
        (MetricKey, MetricKey.log_id.in_(own_logs)),
        (MetricLog, MetricLog.run_id == run_id),
    ):
        if logs and left:
            left -= bounded.delete_some(session, table, own, limit=left)
    return limit - left


def _remove_batches(session: Session, run_id: str, limit: int) -> int:
    return bounded.delete_some(session, MetricBatch, MetricBatch.run_id == run_id, limit=limit)


def _remove_files(session: Session, run_id: str, limit: int) -> int:
    return bounded.delete_some(session, RunFile, RunFile.run_id == run_id, limit=limit)


_OWNED: Sequence[tuple[Callable[[Session, str, int], int], int]] = (
    (_remove_series, SERIES_ROWS),
    (_remove_batches, LARGE_ROWS),
    (run_maps.remove_some, LARGE_ROWS),
    (console_segments.remove_some, LARGE_ROWS),
    (console_segments.remove_writers, bounded.ROWS),
    (_remove_files, bounded.ROWS),
    (attempts.remove_some, bounded.ROWS),
    (attributes.remove_some, bounded.ROWS),
)
"""Removes at most so many rows of a run and returns their number, for each table of such rows."""
