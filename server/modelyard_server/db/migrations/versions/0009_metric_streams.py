"""Metric batches have a stream."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("metric_batch", sa.Column("stream", sa.Integer(), nullable=False, server_default="1"))
    op.drop_index("ix_metric_batch_steps", "metric_batch")
    op.create_index(
        "ix_metric_batch_steps", "metric_batch", ["run_id", "attempt", "stream", "first_step", "id"]
    )
