"""Indexes for lists of runs by their state."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

LIVE: dict[str, Any] = dict.fromkeys(("sqlite_where", "postgresql_where"), sa.text("deleted_at IS NULL"))


def upgrade() -> None:
    for scope in ("project", "entity"):
        columns = [f"{scope}_id", "state", "created_at", "id"]
        op.create_index(f"ix_run_{scope}_state", "run", columns, **LIVE)
