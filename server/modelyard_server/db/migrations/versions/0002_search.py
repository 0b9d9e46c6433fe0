"""Search: owner columns in versions and links, and an index of user values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from modelyard_server.db.attributes import rows_of

revision = "0002"
down_revision = "0001"

ID = sa.Uuid(as_uuid=False)
BATCH = 1000

INDEXED = {
    "artifact_version": {"facts": "metadata", "tags": "tags"},
    "run": {"config": "run.config", "summary": "run.summary", "tags": "run.tags"},
    "collection": {"tags": "collection.tags"},
}


def upgrade() -> None:
    for table in ("artifact_version", "link", "alias"):
        _add_owners(table)
    _attributes()
    for table, columns in INDEXED.items():
        _fill(table, columns)
    # Indexes after the rows: one sort instead of a search for each.
    for scope in ("project", "entity"):
        for value in ("number", "text"):
            there: Any = {
                f"{kind}_where": sa.text(f"{value} IS NOT NULL") for kind in ("sqlite", "postgresql")
            }
            columns_ = [f"{scope}_id", "key", value, "subject_id"]
            op.create_index(f"ix_attribute_{scope}_{value}", "attribute", columns_, **there)
    # The history of a collection is read newest first.
    op.drop_index("ix_event_collection_id", "event")
    op.create_index("ix_event_collection_seq", "event", ["collection_id", "seq"])


def _add_owners(table: str) -> None:
    # NOT NULL needs a default, and SQLite adds no foreign key with one. That of the collection suffices.
    for column in ("entity_id", "project_id"):
        op.add_column(table, sa.Column(column, sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(
        f"UPDATE {table} SET project_id = "
        f"(SELECT project_id FROM collection WHERE collection.id = {table}.collection_id)"
    )
    op.execute(
        f"UPDATE {table} SET entity_id = "
        f"(SELECT entity_id FROM project WHERE project.id = {table}.project_id)"
    )
    for scope in ("project", "entity"):
        if table == "alias":
            op.create_index(f"ix_alias_{scope}_alias", table, [f"{scope}_id", "alias"])
        else:
            order, live = [f"{scope}_id", "created_at", "id"], _where("deleted_at IS NULL")
            op.create_index(f"ix_{table}_{scope}_created", table, order, **live)


def _where(condition: str) -> dict[str, Any]:
    return {f"{kind}_where": sa.text(condition) for kind in ("sqlite", "postgresql")}


def _attributes() -> None:
    text = sa.String(256, collation="C").with_variant(sa.String(256), "sqlite")
    op.create_table(
        "attribute",
        sa.Column("subject_id", ID, nullable=False),
        sa.Column("key", sa.String(256), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.Column("text", text, nullable=True),
        sa.PrimaryKeyConstraint("subject_id", "key", "item", name="pk_attribute"),
        sqlite_with_rowid=False,
    )


def _fill(table: str, columns: dict[str, str]) -> None:
    connection = op.get_bind()
    attribute = sa.Table("attribute", sa.MetaData(), autoload_with=connection)
    attribute.c.subject_id.type = ID
    for batch in _rows(connection, table, list(columns)):
        new = [
            {
                "subject_id": row.id,
                "key": key,
                "item": item,
                "entity_id": row.entity_id,
                "project_id": row.project_id,
                "number": number,
                "text": text,
            }
            for row in batch
            for column, prefix in columns.items()
            for (key, item), (number, text) in rows_of(prefix, getattr(row, column)).items()
        ]
        if new:
            connection.execute(attribute.insert(), new)


def _rows(connection: sa.Connection, table: str, columns: list[str]) -> Iterator[list[Any]]:
    """The rows that are not deleted, by id, in batches: they need not fit into memory."""
    owned = sa.table(
        table,
        sa.column("id", ID),
        sa.column("project_id"),
        sa.column("deleted_at"),
        *(sa.column(column, sa.JSON()) for column in columns),
    )
    project = sa.table("project", sa.column("id"), sa.column("entity_id"))
    query = (
        sa.select(owned, project.c.entity_id)
        .join(project, project.c.id == owned.c.project_id)
        .where(owned.c.deleted_at.is_(None))
        .order_by(owned.c.id)
        .limit(BATCH)
    )
    batch = list(connection.execute(query))
    while batch:
        yield batch
        batch = list(connection.execute(query.where(owned.c.id > batch[-1].id)))
