"""Principals with ids: keys, requests and uploads belong to an id instead of a name.

A key belongs to the principal of its name and entity, with the rights it had. A stored reply or an open
upload is kept where its name means one principal. Where several share the name it is deleted, so that
nobody gets what belongs to another of the same name: clients make a new upload.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from modelyard_server.db.ids import new_id

revision = "0003"
down_revision = "0002"

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ID = sa.Uuid(as_uuid=False)
NAME = sa.String(length=128)
DIGEST = sa.LargeBinary(length=32)
NOBODY = "0" * 32

# As they were called and numbered when this was written.
LOCAL_NAME = "local"
LOCAL = "00000000-0000-0000-0000-000000000001"
FOLDER_OWNER = "00000000-0000-0000-0000-000000000002"

Keys = list[Any]
"""Rows of the keys, each with its `principal_id` and `entity_id`."""


def upgrade() -> None:
    connection = op.get_bind()
    _make_principals()
    keys = _keys(connection)
    _own_uploads(connection, keys)
    _own_requests(connection, keys)


def _make_principals() -> None:
    op.create_table(
        "principal",
        sa.Column("id", ID, primary_key=True),
        sa.Column("entity_id", KEY, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["entity_id"], ["entity.id"], name="fk_principal_entity_id"),
        sa.UniqueConstraint("entity_id", "name", name="uq_principal_entity_id_name"),
    )


def _keys(connection: sa.Connection) -> Keys:
    """Gives each key its principal, and makes those."""
    old = sa.Table("api_key", sa.MetaData(), autoload_with=connection)
    old.c.id.type = ID
    entity = sa.table("entity", sa.column("id"), sa.column("name"))
    query = sa.select(old, entity.c.id.label("entity_id")).outerjoin(entity, entity.c.name == old.c.entity)
    keys = [dict(row._mapping) for row in connection.execute(query.order_by(old.c.created_at, old.c.id))]
    principals: dict[tuple[int, str], dict[str, Any]] = {}
    for key in keys:
        new = {
            "id": new_id(),
            "entity_id": key["entity_id"],
            "name": key["principal"],
            "created_at": key["created_at"],
        }
        key["principal_id"] = principals.setdefault((key["entity_id"], key["principal"]), new)["id"]
    op.drop_table("api_key")
    made = op.create_table(
        "api_key",
        sa.Column("id", ID, primary_key=True),
        sa.Column("hash", DIGEST, nullable=False),
        sa.Column("principal_id", ID, nullable=False),
        sa.Column("all_entities", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("hash", name="uq_api_key_hash"),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name="fk_api_key_principal_id"),
    )
    op.create_index("ix_api_key_principal_id", "api_key", ["principal_id"])
    if keys:
        target = sa.table(
            "principal", sa.column("id", ID), *map(sa.column, ("entity_id", "name", "created_at"))
        )
        connection.execute(target.insert(), list(principals.values()))
        kept = made.c.keys()
        connection.execute(made.insert(), [{name: key[name] for name in kept} for key in keys])
    return keys


def _own_uploads(connection: sa.Connection, keys: Keys) -> None:
    # Not by a new table: SQLite would delete the pins with the old one. It also needs a default here.
    op.add_column("upload", sa.Column("principal_id", ID, nullable=False, server_default=NOBODY))
    upload = sa.table("upload", sa.column("principal"), sa.column("entity_id"), sa.column("principal_id", ID))
    for name, entity_id in connection.execute(
        sa.select(upload.c.principal, upload.c.entity_id).distinct()
    ).all():
        able = {
            key["principal_id"]
            for key in keys
            if key["principal"] == name and (key["all_entities"] or key["entity_id"] == entity_id)
        }
        if name == LOCAL_NAME:
            # A data folder is served by an embedded server, as a rule: its callers own the folder.
            able.add(FOLDER_OWNER if connection.dialect.name == "sqlite" else LOCAL)
        these = sa.and_(upload.c.principal == name, upload.c.entity_id == entity_id)
        if len(able) == 1:
            connection.execute(upload.update().where(these).values(principal_id=able.pop()))
        else:
            connection.execute(upload.delete().where(these))
    op.drop_index("ix_upload_principal", "upload")
    op.drop_column("upload", "principal")
    if connection.dialect.name == "postgresql":
        op.alter_column("upload", "principal_id", server_default=None)
    op.create_index("ix_upload_principal_id", "upload", ["principal_id"])


def _own_requests(connection: sa.Connection, keys: Keys) -> None:
    op.drop_index("ix_request_created_at", "request")
    if connection.dialect.name == "postgresql":
        op.drop_constraint("pk_request", "request")
    op.rename_table("request", "old_request")
    op.create_table(
        "request",
        sa.Column("principal_id", ID, nullable=False),
        sa.Column("method", NAME, nullable=False),
        sa.Column("request_id", NAME, nullable=False),
        sa.Column("content_hash", DIGEST, nullable=False),
        sa.Column("reply", sa.LargeBinary(), nullable=True),
        sa.Column("entities", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal_id", "method", "request_id", name="pk_request"),
    )
    columns = ["method", "request_id", "content_hash", "reply", "created_at"]
    old = sa.table("old_request", sa.column("principal"), *map(sa.column, columns))
    new = sa.table(
        "request",
        sa.column("principal_id", ID),
        sa.column("entities", sa.JSON(none_as_null=True)),
        *map(sa.column, columns),
    )
    for name in connection.scalars(sa.select(old.c.principal).distinct()).all():
        for id_, entities in _requesters(name, keys):
            values: list[Any] = [sa.literal(id_, ID), sa.literal(entities, sa.JSON(none_as_null=True))]
            source = sa.select(*values, *(old.c[column] for column in columns)).where(old.c.principal == name)
            connection.execute(new.insert().from_select(["principal_id", "entities", *columns], source))
    op.drop_table("old_request")
    op.create_index("ix_request_created_at", "request", ["created_at"])


def _requesters(name: str, keys: Keys) -> list[tuple[str, list[str] | None]]:
    """Who gets the stored replies of a name, with the entities these concern; None: not known."""
    own = [key for key in keys if key["principal"] == name]
    if name == LOCAL_NAME and not own:
        # Both may enter every entity, and which of them called was not kept.
        return [(LOCAL, None), (FOLDER_OWNER, None)]
    if name == LOCAL_NAME or len({key["principal_id"] for key in own}) != 1:
        return []
    anywhere = any(key["all_entities"] for key in own)
    return [(own[0]["principal_id"], None if anywhere else [own[0]["entity"]])]
