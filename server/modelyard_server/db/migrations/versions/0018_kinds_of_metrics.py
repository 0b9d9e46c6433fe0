"""Packed metrics say what their points are: scans of few metrics read their series."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("metric_key", sa.Column("kinds", sa.Integer(), nullable=True))
