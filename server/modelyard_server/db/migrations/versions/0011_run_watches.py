"""What watches of runs read by: a counter of changes, and batches of metrics in the order of arrival."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("run", sa.Column("changes", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index("ix_metric_batch_arrival", "metric_batch", ["run_id", "attempt", "stream", "id"])
