"""The tables of principals, their keys and sessions, and their stored replies."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from modelyard_server.db.declarative import Base, BigKey, Id


class PrincipalRow(Base):
    """A principal that keys are issued to.

    The id never changes and is never used again; the name is only displayed.

    The principals that no key can have are not in this table: see `domain/access/principals.py`.
    """

    __tablename__ = "principal"
    __table_args__ = (UniqueConstraint("entity_id", "name"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    entity_id: Mapped[int] = mapped_column(BigKey, ForeignKey("entity.id"))
    name: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)


class ApiKey(Base):
    """An API key. Only its SHA-256 is stored."""

    __tablename__ = "api_key"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    principal_id: Mapped[str] = mapped_column(ForeignKey("principal.id"), index=True)
    all_entities: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[int] = mapped_column(BigInteger)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)


class WebSession(Base):
    """A browser that is signed in. Only the digest of its token is stored."""

    __tablename__ = "web_session"
    hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    # Null: the owner of the data folder, who has no key.
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_key.id"), index=True)
    user_agent: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[int] = mapped_column(BigInteger)
    used_at: Mapped[int] = mapped_column(BigInteger, index=True)


class Request(Base):
    """A write that took effect, with its reply, so that a retry gets the same one."""

    __tablename__ = "request"
    # No foreign key: the fixed principals have no row (domain/access/principals.py).
    principal_id: Mapped[str] = mapped_column(Id, primary_key=True)
    method: Mapped[str] = mapped_column(String(128), primary_key=True)
    request_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    reply: Mapped[bytes | None] = mapped_column(LargeBinary)
    # Names of the entities that it entered; null before schema 0003, which did not record them.
    entities: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[int] = mapped_column(BigInteger, index=True)
