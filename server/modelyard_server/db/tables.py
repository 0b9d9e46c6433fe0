"""The schema. Rows are the domain objects: there is no second set of classes.

Times are microseconds since 1970 (UTC) by the database's clock. Ids shown to
clients are UUIDv7 text; owners and storage rows have small numeric keys. Every
foreign-key column is indexed, since deletes follow them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    event,
    text,
)
from sqlalchemy.orm import Mapped, Session, mapped_column, object_session

from modelyard_server.db.caller_tables import ApiKey, PrincipalRow, Request
from modelyard_server.db.declarative import LIVE, Base, BigKey, Id, listed
from modelyard_server.db.metric_tables import (
    PACK_WEIGHT,
    MetricBatch,
    MetricBlock,
    MetricKey,
    MetricLog,
    MetricSegment,
)
from modelyard_server.db.output_tables import ConsoleSegment, ConsoleWriter, RunFile
from modelyard_server.db.run_tables import RunAttempt, RunFields, RunMap, RunRemoval

__all__ = [
    "PACK_WEIGHT",
    "ApiKey",
    "Base",
    "ConsoleSegment",
    "ConsoleWriter",
    "Id",
    "MetricBatch",
    "MetricBlock",
    "MetricKey",
    "MetricLog",
    "MetricSegment",
    "PrincipalRow",
    "Request",
    "RunAttempt",
    "RunFields",
    "RunFile",
    "RunMap",
    "RunRemoval",
]  # as well as the rows below


class StoreMeta(Base):
    """One row: which store belongs to this database. The same id lies in the store."""

    __tablename__ = "store_meta"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    store_id: Mapped[str] = mapped_column(Id)
    created_at: Mapped[int] = mapped_column(BigInteger)


class SchemaInfo(Base):
    """One row: the oldest server version that may run on this schema."""

    __tablename__ = "schema_info"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    oldest_server: Mapped[str] = mapped_column(String(32))


class SweepTime(Base):
    """One row: the last time at which a sweep trusted the clock, and the time it jumped to, if it did."""

    __tablename__ = "sweep_time"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    trusted_at: Mapped[int] = mapped_column(BigInteger)
    leapt_to: Mapped[int | None] = mapped_column(BigInteger)


class DeletionHold(Base):
    """Until it ends no object of the store is deleted: a backup copies them."""

    __tablename__ = "deletion_hold"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    holder: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)


class Entity(Base):
    """Who owns projects: the boundary of reading and of dedupe."""

    __tablename__ = "entity"
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    name: Mapped[str] = mapped_column(String(128), unique=True)
    created_at: Mapped[int] = mapped_column(BigInteger)


class Project(Base):
    """What runs and artifacts are about. `event_seq` numbers its events without gaps."""

    __tablename__ = "project"
    __table_args__ = (UniqueConstraint("entity_id", "name"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    entity_id: Mapped[int] = mapped_column(ForeignKey("entity.id"))
    name: Mapped[str] = mapped_column(String(128))
    event_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    run_count: Mapped[int] = mapped_column(BigInteger, default=0)
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)


class NumberMark(Base):
    """How far the newest mark of a project's numbers goes that is in the store: the number of an event."""

    __tablename__ = "number_mark"
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), primary_key=True, autoincrement=False)
    last_event: Mapped[int] = mapped_column(BigInteger)


RUNNING: dict[str, Any] = dict.fromkeys(LIVE, text("state = 'running' AND deleted_at IS NULL"))
"""The condition of the index over running runs."""


class Run(RunFields, Base):
    """One execution of training code, in its latest attempt. A deleted one is a tombstone of lineage."""

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("project_id", "run_id"),
        # Without the time of the heartbeat: each batch of metrics changes that, and no index of a run.
        Index("ix_run_running", "state", **RUNNING),
        *listed("run"),
        *(
            Index(f"ix_run_{scope}_state", f"{scope}_id", "state", "created_at", "id", **LIVE)
            for scope in ("project", "entity")
        ),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    # As of the project, for lists of an entity in the order of time.
    entity_id: Mapped[int] = mapped_column(BigInteger, server_default="0")
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    run_id: Mapped[str] = mapped_column(String(128))
    attempt: Mapped[int] = mapped_column(Integer, server_default="1")
    # Counts the transactions that wrote this row, so that watches see that there was one.
    changes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    deleted_at: Mapped[int | None] = mapped_column(BigInteger)


_CHANGED = "changed runs"


@event.listens_for(Run, "before_update")
def _count_change(_mapper: Any, _connection: Any, run: Any) -> None:
    run.changes = Run.changes + 1  # in SQL: the row may have been read before it was locked
    session = object_session(run)
    assert session is not None
    session.info.setdefault(_CHANGED, set()).add(run.id)


def changed_runs(session: Session) -> set[str]:
    """The ids of the runs whose rows this transaction has changed; flushes the session."""
    session.flush()
    changed: set[str] = session.info.get(_CHANGED, set())
    return changed


class Collection(Base):
    """An artifact (kind `artifact`) or a registered model (kind `model`): one namespace in a project.

    A deleted one keeps its row and its counter: numbers are never used again.
    """

    __tablename__ = "collection"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        CheckConstraint("kind IN ('artifact', 'model')", name="kind"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    kind: Mapped[str] = mapped_column(String(8))
    name: Mapped[str] = mapped_column(String(128))
    type: Mapped[str] = mapped_column(String(128))
    description: Mapped[str] = mapped_column(Text)
    tags: Mapped[list[str]]
    next_version: Mapped[int] = mapped_column(BigInteger, default=0)
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[int] = mapped_column(BigInteger)
    deleted_at: Mapped[int | None] = mapped_column(BigInteger)


class ArtifactVersion(Base):
    """One immutable state of an artifact. A deleted one stays as a tombstone without files."""

    __tablename__ = "artifact_version"
    __table_args__ = (
        UniqueConstraint("collection_id", "number"),
        Index("ix_artifact_version_digest", "collection_id", "digest", **LIVE),
        Index("ix_artifact_version_expires", "expires_at"),
        *listed("artifact_version"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    collection_id: Mapped[str] = mapped_column(ForeignKey("collection.id"))
    # As of the collection, for lists of a project and of an entity in the order of time.
    entity_id: Mapped[int] = mapped_column(BigInteger, server_default="0")
    project_id: Mapped[int] = mapped_column(BigInteger, server_default="0")
    number: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    size: Mapped[int] = mapped_column(BigInteger)
    file_count: Mapped[int] = mapped_column(BigInteger)
    description: Mapped[str] = mapped_column(Text)
    metadata_: Mapped[dict[str, Any]] = mapped_column("facts", key="metadata_")
    tags: Mapped[list[str]]
    producer_run_id: Mapped[str | None] = mapped_column(ForeignKey("run.id"), index=True)
    history_step: Mapped[int] = mapped_column(BigInteger, default=-1)
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int | None] = mapped_column(BigInteger)
    deleted_at: Mapped[int | None] = mapped_column(BigInteger)


class Link(Base):
    """A version of a registered model: a link to an artifact's version, never a copy."""

    __tablename__ = "link"
    __table_args__ = (
        UniqueConstraint("collection_id", "number"),
        Index("uq_link_live", "collection_id", "version_id", unique=True, **LIVE),
        *listed("link"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    collection_id: Mapped[str] = mapped_column(ForeignKey("collection.id"))
    # As of the collection, for lists of a project and of an entity in the order of time.
    entity_id: Mapped[int] = mapped_column(BigInteger, server_default="0")
    project_id: Mapped[int] = mapped_column(BigInteger, server_default="0")
    version_id: Mapped[str] = mapped_column(ForeignKey("artifact_version.id"), index=True)
    number: Mapped[int] = mapped_column(BigInteger)
    linked_at: Mapped[int] = mapped_column(BigInteger)  # the last link call: `latest` falls back by it
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)
    deleted_at: Mapped[int | None] = mapped_column(BigInteger)


class Alias(Base):
    """A movable name: on a version of an artifact, or on a link of a registered model."""

    __tablename__ = "alias"
    __table_args__ = (
        CheckConstraint("(version_id IS NULL) <> (link_id IS NULL)", name="target"),
        Index("ix_alias_project_alias", "project_id", "alias"),
        Index("ix_alias_entity_alias", "entity_id", "alias"),
    )
    collection_id: Mapped[str] = mapped_column(ForeignKey("collection.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(String(128), primary_key=True)
    entity_id: Mapped[int] = mapped_column(BigInteger, server_default="0")  # as of the collection
    project_id: Mapped[int] = mapped_column(BigInteger, server_default="0")
    version_id: Mapped[str | None] = mapped_column(ForeignKey("artifact_version.id"), index=True)
    link_id: Mapped[str | None] = mapped_column(ForeignKey("link.id"), index=True)
    updated_at: Mapped[int] = mapped_column(BigInteger)


class Lineage(Base):
    """A run made (`output`) or used (`input`) a version."""

    __tablename__ = "lineage"
    __table_args__ = (CheckConstraint("relation IN ('output', 'input')", name="relation"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("artifact_version.id"), primary_key=True, index=True)
    relation: Mapped[str] = mapped_column(String(8), primary_key=True)
    use_as: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)


class Event(Base):
    """What changed in a project, numbered without gaps in commit order. Rows are never changed."""

    __tablename__ = "event"
    __table_args__ = (Index("ix_event_collection_seq", "collection_id", "seq"),)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(32))
    time: Mapped[int] = mapped_column(BigInteger)
    principal: Mapped[str] = mapped_column(String(128))
    collection_id: Mapped[str | None] = mapped_column(Id)
    details: Mapped[dict[str, Any]]  # collection, version, version_id, alias, … as the wire names them


class Pack(Base):
    """An object in the store that holds chunks. States: writing → live → trash → gone, in this order only.

    `trash` holds no chunk, and its object is to be deleted; `gone` has no object. A pack that is
    given up goes from writing to trash.
    """

    __tablename__ = "pack"
    __table_args__ = (
        CheckConstraint("state IN ('writing', 'live', 'trash', 'gone')", name="state"),
        Index("ix_pack_state", "state", "changed_at"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    entity_id: Mapped[int] = mapped_column(ForeignKey("entity.id"), index=True)
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    state: Mapped[str] = mapped_column(String(8))
    changed_at: Mapped[int] = mapped_column(BigInteger)


class Chunk(Base):
    """Where the bytes of a chunk are. A row that is not quarantined means that they are usable."""

    __tablename__ = "chunk"
    __table_args__ = (UniqueConstraint("entity_id", "digest"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    entity_id: Mapped[int] = mapped_column(ForeignKey("entity.id"))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    pack_id: Mapped[str] = mapped_column(ForeignKey("pack.id"), index=True)
    offset: Mapped[int] = mapped_column(BigInteger)
    size: Mapped[int] = mapped_column(Integer)
    quarantined_at: Mapped[int | None] = mapped_column(BigInteger)


class File(Base):
    """The chunks of one distinct content in an entity; its digests are made by the server.

    `sha256` is that of the plain bytes; NULL until somebody needs it of a file of several chunks.

    `next_chunk` is the index of the first chunk that has no row yet, while a
    large file is stored in several transactions; NULL once it is whole. Only
    whole files are found by their digest.
    """

    __tablename__ = "file"
    __table_args__ = (UniqueConstraint("entity_id", "digest"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    entity_id: Mapped[int] = mapped_column(ForeignKey("entity.id"))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    size: Mapped[int] = mapped_column(BigInteger)
    next_chunk: Mapped[int | None] = mapped_column(Integer)


class FileChunk(Base):
    """One chunk of a file. `start` is where it begins in the file, for ranges."""

    __tablename__ = "file_chunk"
    __table_args__ = (Index("ix_file_chunk_start", "file_id", "start"),)
    file_id: Mapped[int] = mapped_column(ForeignKey("file.id", ondelete="CASCADE"), primary_key=True)
    idx: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    chunk_id: Mapped[int] = mapped_column(ForeignKey("chunk.id"), index=True)
    start: Mapped[int] = mapped_column(BigInteger)


class VersionFile(Base):
    """An entry of a version's manifest: a file, or a reference. Ordered by the bytes of its path."""

    __tablename__ = "version_file"
    __table_args__ = (CheckConstraint("(file_id IS NULL) <> (uri IS NULL)", name="kind"),)
    version_id: Mapped[str] = mapped_column(ForeignKey("artifact_version.id"), primary_key=True)
    path: Mapped[bytes] = mapped_column(LargeBinary(1024), primary_key=True)  # UTF-8: ordered alike anywhere
    file_id: Mapped[int | None] = mapped_column(ForeignKey("file.id"), index=True)
    size: Mapped[int | None] = mapped_column(BigInteger)
    uri: Mapped[str | None] = mapped_column(Text)
    tag: Mapped[str] = mapped_column(Text, default="")


class StagedEntry(Base):
    """An entry of a large manifest whose commit has not run its last transaction yet.

    As a pin keeps a chunk, the foreign key keeps the file while the upload is open.
    """

    __tablename__ = "staged_entry"
    upload_id: Mapped[str] = mapped_column(ForeignKey("upload.id", ondelete="CASCADE"), primary_key=True)
    commit_id: Mapped[str] = mapped_column(Id, primary_key=True)  # one call of CommitModelArtifact
    path: Mapped[bytes] = mapped_column(LargeBinary(1024), primary_key=True)
    file_id: Mapped[int | None] = mapped_column(ForeignKey("file.id"), index=True)
    size: Mapped[int | None] = mapped_column(BigInteger)
    uri: Mapped[str | None] = mapped_column(Text)
    tag: Mapped[str] = mapped_column(Text, default="")


class ManifestRemoval(Base):
    """A deleted version whose entries are still to be removed, in short transactions."""

    __tablename__ = "manifest_removal"
    version_id: Mapped[str] = mapped_column(ForeignKey("artifact_version.id"), primary_key=True)


class Upload(Base):
    """An upload session: holds chunks until commit or expiry."""

    __tablename__ = "upload"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    entity_id: Mapped[int] = mapped_column(ForeignKey("entity.id"), index=True)
    project: Mapped[str] = mapped_column(String(128))
    # No foreign key: the fixed principals have no row (domain/access/principals.py).
    principal_id: Mapped[str] = mapped_column(Id, index=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)


class Pin(Base):
    """An upload holds a chunk: the foreign key keeps the chunk's row, and so its bytes."""

    __tablename__ = "pin"
    upload_id: Mapped[str] = mapped_column(ForeignKey("upload.id", ondelete="CASCADE"), primary_key=True)
    chunk_id: Mapped[int] = mapped_column(ForeignKey("chunk.id"), primary_key=True, index=True)
