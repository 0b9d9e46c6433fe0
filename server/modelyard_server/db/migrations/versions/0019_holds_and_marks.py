"""Holds of backups, which forbid deleting objects, and marks of numbers that are in the store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "deletion_hold",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deletion_hold"),
    )
    op.create_table(
        "number_mark",
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("last_event", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_number_mark_project_id"),
        sa.PrimaryKeyConstraint("project_id", name="pk_number_mark"),
    )
