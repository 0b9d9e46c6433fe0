"""Files of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "run_file",
        sa.Column("run_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("path", sa.LargeBinary(1024), nullable=False),
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("media_type", sa.String(128), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_run_file_run_id"),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name="fk_run_file_file_id"),
        sa.PrimaryKeyConstraint("run_id", "attempt", "path", name="pk_run_file"),
    )
    op.create_index("ix_run_file_file_id", "run_file", ["file_id"])
