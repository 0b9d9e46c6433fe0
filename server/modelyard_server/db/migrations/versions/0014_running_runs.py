"""The index over running runs does not follow their heartbeats."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

RUNNING: dict[str, Any] = dict.fromkeys(
    ("sqlite_where", "postgresql_where"), sa.text("state = 'running' AND deleted_at IS NULL")
)


def upgrade() -> None:
    op.drop_index("ix_run_heartbeat", "run")
    op.create_index("ix_run_running", "run", ["state"], **RUNNING)
