"""Tables of metrics: batches as they were sent, and the series that are made of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from modelyard_server.db.declarative import Base, BigKey

PACK_WEIGHT = 4096
"""The weight of waiting batches from which they are packed. The index of due logs depends on it."""


def _where(condition: str) -> dict[str, Any]:
    return dict.fromkeys(("sqlite_where", "postgresql_where"), text(condition))


class MetricBatch(Base):
    """Rows of metrics as they were sent: one row a batch, never a row a point."""

    __tablename__ = "metric_batch"
    __table_args__ = (
        UniqueConstraint("run_id", "attempt", "writer", "sequence"),
        Index("ix_metric_batch_steps", "run_id", "attempt", "stream", "first_step", "id"),
        Index("ix_metric_batch_arrival", "run_id", "attempt", "stream", "id"),
    )
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"))
    attempt: Mapped[int] = mapped_column(Integer, server_default="1")
    # A `MetricStream`: 1 for history, 2 for system.
    stream: Mapped[int] = mapped_column(Integer, server_default="1")
    writer: Mapped[str] = mapped_column(String(64))
    sequence: Mapped[int] = mapped_column(BigInteger)
    first_step: Mapped[int] = mapped_column(BigInteger)
    last_step: Mapped[int] = mapped_column(BigInteger)
    row_count: Mapped[int] = mapped_column(Integer)
    payload: Mapped[bytes]
    created_at: Mapped[int] = mapped_column(BigInteger)


class MetricLog(Base):
    """The batches of one stream of one attempt of a run, and how far they are packed into series.

    Blocks have the batches with ids up to `packed_id`; those after it wait, and weigh
    `waiting`. Every change of the blocks raises `packed_id`.
    """

    __tablename__ = "metric_log"
    __table_args__ = (
        UniqueConstraint("run_id", "attempt", "stream"),
        Index("ix_metric_log_due", "waiting", **_where(f"waiting >= {PACK_WEIGHT}")),
    )
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"))
    attempt: Mapped[int] = mapped_column(Integer)
    stream: Mapped[int] = mapped_column(Integer)
    packed_id: Mapped[int] = mapped_column(BigInteger, default=0)
    waiting: Mapped[int] = mapped_column(BigInteger, default=0)


class MetricKey(Base):
    """A metric of the packed batches of a log: how many points it has, and how many are numbers."""

    __tablename__ = "metric_key"
    __table_args__ = (UniqueConstraint("log_id", "key"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    log_id: Mapped[int] = mapped_column(ForeignKey("metric_log.id"))
    key: Mapped[str] = mapped_column(Text)
    point_count: Mapped[int] = mapped_column(BigInteger)
    number_count: Mapped[int] = mapped_column(BigInteger)
    # Bits that say what its points are; null where an earlier release packed some of them.
    kinds: Mapped[int | None] = mapped_column(Integer)
    first_step: Mapped[int] = mapped_column(BigInteger)
    last_step: Mapped[int] = mapped_column(BigInteger)


class MetricBlock(Base):
    """Some thousand rows of a log, sorted: their steps and times, packed."""

    __tablename__ = "metric_block"
    __table_args__ = (Index("ix_metric_block_log_id", "log_id", "id"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    log_id: Mapped[int] = mapped_column(ForeignKey("metric_log.id"))
    row_count: Mapped[int] = mapped_column(Integer)
    point_count: Mapped[int] = mapped_column(Integer)
    steps: Mapped[bytes]
    times: Mapped[bytes]


class MetricSegment(Base):
    """The numbers of one metric in a block, packed, and the tile that summarizes them."""

    __tablename__ = "metric_segment"
    __table_args__ = (
        UniqueConstraint("key_id", "block_id"),
        Index("ix_metric_segment_block_id", "block_id"),
    )
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    key_id: Mapped[int] = mapped_column(ForeignKey("metric_key.id"))
    block_id: Mapped[int] = mapped_column(ForeignKey("metric_block.id"))
    tile: Mapped[bytes]
    # Where the values of the tile lie; null where an earlier release stored the segment.
    places: Mapped[bytes | None]
    rows: Mapped[bytes]
    points: Mapped[bytes]
