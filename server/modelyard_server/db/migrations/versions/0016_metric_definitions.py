"""Runs have definitions of their metrics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    for table in ("run", "run_attempt"):
        op.add_column(table, sa.Column("metric_definitions", sa.JSON(), nullable=False, server_default="{}"))
