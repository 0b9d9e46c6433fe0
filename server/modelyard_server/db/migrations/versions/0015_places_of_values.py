"""Tiles of metrics say where their values lie."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("metric_segment", sa.Column("places", sa.LargeBinary(), nullable=True))
