"""The whole schema of the first release."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ID = sa.Uuid(as_uuid=False)
NAME = sa.String(length=128)
DIGEST = sa.LargeBinary(length=32)
LIVE: Any = {f"{kind}_where": sa.text("deleted_at IS NULL") for kind in ("sqlite", "postgresql")}

OLDEST_SERVER = "0.1.0"


def upgrade() -> None:
    _owners()
    _server()
    _runs()
    _storage()
    _uploads()
    _collections()
    _manifests()
    _registry()
    _events()
    info = sa.table("schema_info", sa.column("id"), sa.column("oldest_server"))
    op.execute(info.insert().values(id=1, oldest_server=OLDEST_SERVER))


def _required(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _primary(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True)


def _optional(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def _owners() -> None:
    op.create_table(
        "entity",
        _primary("id", KEY),
        _required("name", NAME),
        _required("created_at", sa.BigInteger()),
        sa.UniqueConstraint("name", name="uq_entity_name"),
    )
    op.create_table(
        "project",
        _primary("id", KEY),
        _required("entity_id", KEY),
        _required("name", NAME),
        _required("event_seq", sa.BigInteger()),
        _required("run_count", sa.BigInteger()),
        _required("created_by", NAME),
        _required("created_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["entity_id"], ["entity.id"], name="fk_project_entity_id"),
        sa.UniqueConstraint("entity_id", "name", name="uq_project_entity_id_name"),
    )
    op.create_table(
        "api_key",
        _primary("id", ID),
        _required("hash", DIGEST),
        _required("principal", NAME),
        _required("entity", NAME),
        _required("all_entities", sa.Boolean()),
        _required("created_at", sa.BigInteger()),
        _optional("revoked_at", sa.BigInteger()),
        sa.UniqueConstraint("hash", name="uq_api_key_hash"),
    )


def _server() -> None:
    op.create_table(
        "store_meta",
        _primary("id", sa.Integer()),
        _required("store_id", ID),
        _required("created_at", sa.BigInteger()),
    )
    op.create_table(
        "schema_info", _primary("id", sa.Integer()), _required("oldest_server", sa.String(length=32))
    )
    op.create_table(
        "request",
        _required("principal", NAME),
        _required("method", NAME),
        _required("request_id", NAME),
        _required("content_hash", DIGEST),
        _optional("reply", sa.LargeBinary()),
        _required("created_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("principal", "method", "request_id", name="pk_request"),
    )
    op.create_index("ix_request_created_at", "request", ["created_at"])


def _runs() -> None:
    op.create_table(
        "run",
        _primary("id", ID),
        _required("project_id", KEY),
        _required("run_id", NAME),
        _required("display_name", NAME),
        _required("state", sa.String(length=16)),
        _required("config", sa.JSON()),
        _required("summary", sa.JSON()),
        _required("facts", sa.JSON()),
        _required("notes", sa.Text()),
        _required("tags", sa.JSON()),
        _required("group", NAME),
        _required("job_type", NAME),
        _required("created_by", NAME),
        _required("created_at", sa.BigInteger()),
        _required("updated_at", sa.BigInteger()),
        _required("heartbeat_at", sa.BigInteger()),
        _optional("finished_at", sa.BigInteger()),
        _required("exit_code", sa.Integer()),
        _required("last_step", sa.BigInteger()),
        _optional("deleted_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_run_project_id"),
        sa.UniqueConstraint("project_id", "run_id", name="uq_run_project_id_run_id"),
    )
    op.create_index("ix_run_heartbeat", "run", ["state", "heartbeat_at"])
    op.create_index("ix_run_project_created", "run", ["project_id", "created_at", "id"])
    op.create_table(
        "metric_batch",
        _primary("id", KEY),
        _required("run_id", ID),
        _required("writer", sa.String(length=64)),
        _required("sequence", sa.BigInteger()),
        _required("first_step", sa.BigInteger()),
        _required("last_step", sa.BigInteger()),
        _required("row_count", sa.Integer()),
        _required("payload", sa.LargeBinary()),
        _required("created_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_metric_batch_run_id"),
        sa.UniqueConstraint("run_id", "writer", "sequence", name="uq_metric_batch_run_id_writer_sequence"),
    )
    op.create_index("ix_metric_batch_steps", "metric_batch", ["run_id", "first_step", "id"])


def _storage() -> None:
    op.create_table(
        "pack",
        _primary("id", ID),
        _required("entity_id", KEY),
        _required("size", sa.BigInteger()),
        _required("state", sa.String(length=8)),
        _required("changed_at", sa.BigInteger()),
        sa.CheckConstraint("state IN ('writing', 'live', 'trash', 'gone')", name="state"),
        sa.ForeignKeyConstraint(["entity_id"], ["entity.id"], name="fk_pack_entity_id"),
    )
    op.create_index("ix_pack_entity_id", "pack", ["entity_id"])
    op.create_index("ix_pack_state", "pack", ["state", "changed_at"])
    op.create_table(
        "chunk",
        _primary("id", KEY),
        _required("entity_id", KEY),
        _required("digest", DIGEST),
        _required("pack_id", ID),
        _required("offset", sa.BigInteger()),
        _required("size", sa.Integer()),
        _optional("quarantined_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["entity_id"], ["entity.id"], name="fk_chunk_entity_id"),
        sa.ForeignKeyConstraint(["pack_id"], ["pack.id"], name="fk_chunk_pack_id"),
        sa.UniqueConstraint("entity_id", "digest", name="uq_chunk_entity_id_digest"),
    )
    op.create_index("ix_chunk_pack_id", "chunk", ["pack_id"])
    op.create_table(
        "file",
        _primary("id", KEY),
        _required("entity_id", KEY),
        _required("digest", DIGEST),
        _required("size", sa.BigInteger()),
        sa.ForeignKeyConstraint(["entity_id"], ["entity.id"], name="fk_file_entity_id"),
        sa.UniqueConstraint("entity_id", "digest", name="uq_file_entity_id_digest"),
    )
    op.create_table(
        "file_chunk",
        _required("file_id", KEY),
        _required("idx", sa.Integer()),
        _required("chunk_id", KEY),
        _required("start", sa.BigInteger()),
        sa.ForeignKeyConstraint(["chunk_id"], ["chunk.id"], name="fk_file_chunk_chunk_id"),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name="fk_file_chunk_file_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("file_id", "idx", name="pk_file_chunk"),
    )
    op.create_index("ix_file_chunk_chunk_id", "file_chunk", ["chunk_id"])
    op.create_index("ix_file_chunk_start", "file_chunk", ["file_id", "start"])


def _uploads() -> None:
    op.create_table(
        "upload",
        _primary("id", ID),
        _required("entity_id", KEY),
        _required("project", NAME),
        _required("principal", NAME),
        _required("created_at", sa.BigInteger()),
        _required("expires_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["entity_id"], ["entity.id"], name="fk_upload_entity_id"),
    )
    op.create_index("ix_upload_entity_id", "upload", ["entity_id"])
    op.create_index("ix_upload_expires_at", "upload", ["expires_at"])
    op.create_index("ix_upload_principal", "upload", ["principal"])
    op.create_table(
        "pin",
        _required("upload_id", ID),
        _required("chunk_id", KEY),
        sa.ForeignKeyConstraint(["chunk_id"], ["chunk.id"], name="fk_pin_chunk_id"),
        sa.ForeignKeyConstraint(["upload_id"], ["upload.id"], name="fk_pin_upload_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("upload_id", "chunk_id", name="pk_pin"),
    )
    op.create_index("ix_pin_chunk_id", "pin", ["chunk_id"])


def _collections() -> None:
    op.create_table(
        "collection",
        _primary("id", ID),
        _required("project_id", KEY),
        _required("kind", sa.String(length=8)),
        _required("name", NAME),
        _required("type", NAME),
        _required("description", sa.Text()),
        _required("tags", sa.JSON()),
        _required("next_version", sa.BigInteger()),
        _required("created_by", NAME),
        _required("created_at", sa.BigInteger()),
        _required("updated_at", sa.BigInteger()),
        _optional("deleted_at", sa.BigInteger()),
        sa.CheckConstraint("kind IN ('artifact', 'model')", name="kind"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_collection_project_id"),
        sa.UniqueConstraint("project_id", "name", name="uq_collection_project_id_name"),
    )
    op.create_table(
        "artifact_version",
        _primary("id", ID),
        _required("collection_id", ID),
        _required("number", sa.BigInteger()),
        _required("digest", DIGEST),
        _required("size", sa.BigInteger()),
        _required("file_count", sa.BigInteger()),
        _required("description", sa.Text()),
        _required("facts", sa.JSON()),
        _required("tags", sa.JSON()),
        _optional("producer_run_id", ID),
        _required("history_step", sa.BigInteger()),
        _required("created_by", NAME),
        _required("created_at", sa.BigInteger()),
        _required("updated_at", sa.BigInteger()),
        _optional("expires_at", sa.BigInteger()),
        _optional("deleted_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collection.id"], name="fk_artifact_version_collection_id"
        ),
        sa.ForeignKeyConstraint(["producer_run_id"], ["run.id"], name="fk_artifact_version_producer_run_id"),
        sa.UniqueConstraint("collection_id", "number", name="uq_artifact_version_collection_id_number"),
    )
    op.create_index("ix_artifact_version_digest", "artifact_version", ["collection_id", "digest"], **LIVE)
    op.create_index("ix_artifact_version_expires", "artifact_version", ["expires_at"])
    op.create_index("ix_artifact_version_producer_run_id", "artifact_version", ["producer_run_id"])


def _manifests() -> None:
    op.create_table(
        "version_file",
        _required("version_id", ID),
        _required("path", sa.LargeBinary(length=1024)),
        _optional("file_id", KEY),
        _optional("size", sa.BigInteger()),
        _required("sha256", sa.String(length=64)),
        _optional("uri", sa.Text()),
        _required("tag", sa.Text()),
        sa.CheckConstraint("(file_id IS NULL) <> (uri IS NULL)", name="kind"),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name="fk_version_file_file_id"),
        sa.ForeignKeyConstraint(["version_id"], ["artifact_version.id"], name="fk_version_file_version_id"),
        sa.PrimaryKeyConstraint("version_id", "path", name="pk_version_file"),
    )
    op.create_index("ix_version_file_file_id", "version_file", ["file_id"])
    op.create_table(
        "lineage",
        _required("run_id", ID),
        _required("version_id", ID),
        _required("relation", sa.String(length=8)),
        _required("use_as", NAME),
        _required("created_at", sa.BigInteger()),
        sa.CheckConstraint("relation IN ('output', 'input')", name="relation"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_lineage_run_id"),
        sa.ForeignKeyConstraint(["version_id"], ["artifact_version.id"], name="fk_lineage_version_id"),
        sa.PrimaryKeyConstraint("run_id", "version_id", "relation", name="pk_lineage"),
    )
    op.create_index("ix_lineage_version_id", "lineage", ["version_id"])


def _registry() -> None:
    op.create_table(
        "link",
        _primary("id", ID),
        _required("collection_id", ID),
        _required("version_id", ID),
        _required("number", sa.BigInteger()),
        _required("linked_at", sa.BigInteger()),
        _required("created_by", NAME),
        _required("created_at", sa.BigInteger()),
        _optional("deleted_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name="fk_link_collection_id"),
        sa.ForeignKeyConstraint(["version_id"], ["artifact_version.id"], name="fk_link_version_id"),
        sa.UniqueConstraint("collection_id", "number", name="uq_link_collection_id_number"),
    )
    op.create_index("ix_link_version_id", "link", ["version_id"])
    op.create_index("uq_link_live", "link", ["collection_id", "version_id"], unique=True, **LIVE)
    op.create_table(
        "alias",
        _required("collection_id", ID),
        _required("alias", NAME),
        _optional("version_id", ID),
        _optional("link_id", ID),
        _required("updated_at", sa.BigInteger()),
        sa.CheckConstraint("(version_id IS NULL) <> (link_id IS NULL)", name="target"),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name="fk_alias_collection_id"),
        sa.ForeignKeyConstraint(["link_id"], ["link.id"], name="fk_alias_link_id"),
        sa.ForeignKeyConstraint(["version_id"], ["artifact_version.id"], name="fk_alias_version_id"),
        sa.PrimaryKeyConstraint("collection_id", "alias", name="pk_alias"),
    )
    op.create_index("ix_alias_link_id", "alias", ["link_id"])
    op.create_index("ix_alias_version_id", "alias", ["version_id"])


def _events() -> None:
    op.create_table(
        "event",
        _required("project_id", KEY),
        _required("seq", sa.BigInteger()),
        _required("type", sa.String(length=32)),
        _required("time", sa.BigInteger()),
        _required("principal", NAME),
        _optional("collection_id", ID),
        _required("details", sa.JSON()),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_event_project_id"),
        sa.PrimaryKeyConstraint("project_id", "seq", name="pk_event"),
    )
    op.create_index("ix_event_collection_id", "event", ["collection_id"])
