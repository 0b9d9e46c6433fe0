"""Metrics are packed into series: blocks of rows, and in them a segment for each metric."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DUE = sa.text("waiting >= 4096")


def upgrade() -> None:
    op.create_table(
        "metric_log",
        sa.Column("id", KEY, nullable=False),
        sa.Column("run_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("stream", sa.Integer(), nullable=False),
        sa.Column("packed_id", sa.BigInteger(), nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_metric_log_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_metric_log"),
        sa.UniqueConstraint("run_id", "attempt", "stream", name="uq_metric_log_run_id_attempt_stream"),
    )
    op.create_index("ix_metric_log_due", "metric_log", ["waiting"], sqlite_where=DUE, postgresql_where=DUE)
    op.create_table(
        "metric_key",
        sa.Column("id", KEY, nullable=False),
        sa.Column("log_id", KEY, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("point_count", sa.BigInteger(), nullable=False),
        sa.Column("number_count", sa.BigInteger(), nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["log_id"], ["metric_log.id"], name="fk_metric_key_log_id"),
        sa.PrimaryKeyConstraint("id", name="pk_metric_key"),
        sa.UniqueConstraint("log_id", "key", name="uq_metric_key_log_id_key"),
    )
    op.create_table(
        "metric_block",
        sa.Column("id", KEY, nullable=False),
        sa.Column("log_id", KEY, nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("point_count", sa.Integer(), nullable=False),
        sa.Column("steps", sa.LargeBinary(), nullable=False),
        sa.Column("times", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["log_id"], ["metric_log.id"], name="fk_metric_block_log_id"),
        sa.PrimaryKeyConstraint("id", name="pk_metric_block"),
    )
    op.create_index("ix_metric_block_log_id", "metric_block", ["log_id", "id"])
    op.create_table(
        "metric_segment",
        sa.Column("id", KEY, nullable=False),
        sa.Column("key_id", KEY, nullable=False),
        sa.Column("block_id", KEY, nullable=False),
        sa.Column("tile", sa.LargeBinary(), nullable=False),
        sa.Column("rows", sa.LargeBinary(), nullable=False),
        sa.Column("points", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["metric_key.id"], name="fk_metric_segment_key_id"),
        sa.ForeignKeyConstraint(["block_id"], ["metric_block.id"], name="fk_metric_segment_block_id"),
        sa.PrimaryKeyConstraint("id", name="pk_metric_segment"),
        sa.UniqueConstraint("key_id", "block_id", name="uq_metric_segment_key_id_block_id"),
    )
    op.create_index("ix_metric_segment_block_id", "metric_segment", ["block_id"])
    if op.get_bind().dialect.name == "postgresql":
        # Floating-point numbers hardly compress; trying costs more than reading them.
        op.execute("ALTER TABLE metric_segment ALTER COLUMN points SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE metric_block ALTER COLUMN times SET STORAGE EXTERNAL")
    # Batches that were stored before are packed soon if they are many. Their points are not counted here.
    op.execute(
        """
        INSERT INTO metric_log (run_id, attempt, stream, packed_id, waiting)
        SELECT run_id, attempt, stream, 0, sum(row_count) + 15 * count(*)
        FROM metric_batch GROUP BY run_id, attempt, stream
        """
    )
