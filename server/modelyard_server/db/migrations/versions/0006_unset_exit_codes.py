"""Exit codes of runs that have not ended, or that nobody reported, are unset instead of 0."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # SQLite cannot make a column nullable.
    op.execute("ALTER TABLE run RENAME COLUMN exit_code TO old_exit_code")
    op.add_column("run", sa.Column("exit_code", sa.Integer(), nullable=True))
    op.execute(
        """
        UPDATE run SET exit_code = old_exit_code
        WHERE finished_at IS NOT NULL AND (old_exit_code <> 0 OR state = 'finished')
        """
    )
    op.drop_column("run", "old_exit_code")
