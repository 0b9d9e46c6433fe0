"""What belongs to a run beside its own row: earlier attempts, maps of values, and what is to be removed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelyard_server.db.declarative import Base


class RunFields:
    """The fields that each attempt of a run has. Rows are small: maps of values are in `RunMap`."""

    display_name: Mapped[str] = mapped_column(String(128))
    state: Mapped[str] = mapped_column(String(16))
    notes: Mapped[str] = mapped_column(Text)
    tags: Mapped[list[str]]
    group: Mapped[str] = mapped_column(String(128))
    job_type: Mapped[str] = mapped_column(String(128))
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[int] = mapped_column(BigInteger)
    heartbeat_at: Mapped[int] = mapped_column(BigInteger)
    finished_at: Mapped[int | None] = mapped_column(BigInteger)
    exit_code: Mapped[int | None] = mapped_column(Integer)
    last_step: Mapped[int] = mapped_column(BigInteger, default=-1)
    metric_definitions: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    # Counts the changes that make a new etag.
    edits: Mapped[int] = mapped_column(BigInteger, server_default="0")


class RunAttempt(RunFields, Base):
    """An earlier attempt of a run, as it was when the next one began; the latest is the run's row."""

    __tablename__ = "run_attempt"
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)


class RunMap(Base):
    """A piece of the config, the summary or the metadata of an attempt; later pieces replace entries.

    `size` is about that of the entries as a message.
    """

    __tablename__ = "run_map"
    __table_args__ = (CheckConstraint("part IN ('config', 'summary', 'metadata')", name="part"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    part: Mapped[str] = mapped_column(String(8), primary_key=True)
    piece: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(Integer)
    entries: Mapped[dict[str, Any]]


class RunRemoval(Base):
    """A deleted run whose rows are still to be removed, in short transactions."""

    __tablename__ = "run_removal"
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), primary_key=True)
