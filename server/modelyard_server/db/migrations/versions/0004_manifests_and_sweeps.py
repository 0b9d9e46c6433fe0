"""Large manifests in several transactions, rows to be removed by the sweep, and the sweep's clock."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    op.add_column("file", sa.Column("next_chunk", sa.Integer(), nullable=True))
    op.create_table(
        "staged_entry",
        sa.Column("upload_id", ID, nullable=False),
        sa.Column("commit_id", ID, nullable=False),
        sa.Column("path", sa.LargeBinary(1024), nullable=False),
        sa.Column("file_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("uri", sa.Text(), nullable=True),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["upload.id"], name="fk_staged_entry_upload_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name="fk_staged_entry_file_id"),
        sa.PrimaryKeyConstraint("upload_id", "commit_id", "path", name="pk_staged_entry"),
    )
    op.create_index("ix_staged_entry_file_id", "staged_entry", ["file_id"])
    op.create_table(
        "manifest_removal",
        sa.Column("version_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["artifact_version.id"], name="fk_manifest_removal_version_id"
        ),
        sa.PrimaryKeyConstraint("version_id", name="pk_manifest_removal"),
    )
    op.create_table(
        "sweep_time",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trusted_at", sa.BigInteger(), nullable=False),
        sa.Column("leapt_to", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sweep_time"),
    )
