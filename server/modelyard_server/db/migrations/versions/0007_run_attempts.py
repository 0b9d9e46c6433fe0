"""Attempts of runs; their maps of values move from the run's row to rows of their own."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

ID = sa.Uuid(as_uuid=False)
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(128)
MAPS = {"config": "config", "summary": "summary", "metadata": "facts"}
LIVE: dict[str, Any] = dict.fromkeys(("sqlite_where", "postgresql_where"), sa.text("deleted_at IS NULL"))


def upgrade() -> None:
    _tables()
    _move_maps()
    _run()
    _metric_batch()


def _tables() -> None:
    op.create_table(
        "run_attempt",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("display_name", NAME, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("group", NAME, nullable=False),
        sa.Column("job_type", NAME, nullable=False),
        sa.Column("created_by", NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("edits", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_run_attempt_run_id"),
        sa.PrimaryKeyConstraint("run_id", "attempt", name="pk_run_attempt"),
    )
    op.create_table(
        "run_map",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("part", sa.String(8), nullable=False),
        sa.Column("piece", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("entries", sa.JSON(), nullable=False),
        sa.CheckConstraint("part IN ('config', 'summary', 'metadata')", name="part"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_run_map_run_id"),
        sa.PrimaryKeyConstraint("run_id", "attempt", "part", "piece", name="pk_run_map"),
    )
    op.create_table(
        "run_removal",
        sa.Column("run_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_run_removal_run_id"),
        sa.PrimaryKeyConstraint("run_id", name="pk_run_removal"),
    )


def _move_maps() -> None:
    for part, column in MAPS.items():
        # The size on the wire is about that of the JSON.
        op.execute(
            f"INSERT INTO run_map (run_id, attempt, part, piece, size, entries) "
            f"SELECT id, 1, '{part}', 0, length(CAST({column} AS text)), {column} FROM run "
            f"WHERE deleted_at IS NULL AND CAST({column} AS text) <> '{{}}'"
        )
        op.drop_column("run", column)


def _run() -> None:
    op.add_column("run", sa.Column("attempt", sa.Integer(), server_default="1", nullable=False))
    op.add_column("run", sa.Column("edits", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("run", sa.Column("entity_id", sa.BigInteger(), server_default="0", nullable=False))
    op.execute("UPDATE run SET entity_id = (SELECT entity_id FROM project WHERE project.id = run.project_id)")
    op.drop_index("ix_run_project_created", "run")
    for scope in ("project", "entity"):
        op.create_index(f"ix_run_{scope}_created", "run", [f"{scope}_id", "created_at", "id"], **LIVE)


def _metric_batch() -> None:
    # SQLite cannot replace a constraint: the table is made anew.
    with op.batch_alter_table("metric_batch") as table:
        table.add_column(sa.Column("attempt", sa.Integer(), server_default="1", nullable=False))
        table.drop_constraint("uq_metric_batch_run_id_writer_sequence", type_="unique")
        table.create_unique_constraint(
            "uq_metric_batch_run_id_attempt_writer_sequence", ["run_id", "attempt", "writer", "sequence"]
        )
        table.drop_index("ix_metric_batch_steps")
        table.create_index("ix_metric_batch_steps", ["run_id", "attempt", "first_step", "id"])
