"""What runs put out besides metrics: lines of the console, files."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from modelyard_server.db.declarative import Base, BigKey


class ConsoleSegment(Base):
    """Some hundred successive lines of one writer, packed.

    Numbers are those of its first and last line, places are times by which the lines
    of all writers are ordered. `first_revision` and `last_revision` are the least and
    the largest of its lines' revisions, which count the changes of a run's console.
    """

    __tablename__ = "console_segment"
    __table_args__ = (Index("ix_console_segment_writer", "run_id", "attempt", "writer", "first_number"),)
    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"))
    attempt: Mapped[int] = mapped_column(Integer)
    writer: Mapped[str] = mapped_column(String(64))
    first_number: Mapped[int] = mapped_column(BigInteger)
    last_number: Mapped[int] = mapped_column(BigInteger)
    first_place: Mapped[int] = mapped_column(BigInteger)
    last_place: Mapped[int] = mapped_column(BigInteger)
    first_revision: Mapped[int] = mapped_column(BigInteger)
    last_revision: Mapped[int] = mapped_column(BigInteger)
    line_count: Mapped[int] = mapped_column(Integer)
    size: Mapped[int] = mapped_column(Integer)  # bytes of the texts, before they are packed
    payload: Mapped[bytes]


class ConsoleWriter(Base):
    """A writer of a run's console: what it sent last, and which of its lines are not kept any more."""

    __tablename__ = "console_writer"
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    sequences: Mapped[list[int]] = mapped_column(JSON)  # of its newest batches, ascending
    first_kept: Mapped[int] = mapped_column(BigInteger)  # no line with a lower number is stored again
    revision: Mapped[int] = mapped_column(BigInteger)  # of the console, at its newest batch


class RunFile(Base):
    """A file of a run. The foreign key keeps its content; removing it here leaves that to the collector."""

    __tablename__ = "run_file"
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    path: Mapped[bytes] = mapped_column(LargeBinary(1024), primary_key=True)  # UTF-8: ordered alike anywhere
    file_id: Mapped[int] = mapped_column(ForeignKey("file.id"), index=True)
    media_type: Mapped[str] = mapped_column(String(128))
    updated_at: Mapped[int] = mapped_column(BigInteger)
