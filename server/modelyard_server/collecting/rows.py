"""Deletes the rows of files and chunks that nothing refers to.

They are looked for page by page in reading transactions. The transaction that deletes
decides anew: it locks the rows that no other transaction has locked, and then a second
statement leaves out those that have a reference by now. A locked row gets none, since a
foreign key is checked under a lock of the row that it refers to. Should a reference be
overlooked, the foreign key refuses the whole transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, text, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelyard_server.collecting import pages
from modelyard_server.db import bounded, tables
from modelyard_server.db.tables import File, FileChunk, Pin, RunFile, StagedEntry, VersionFile

PAGE = 2_000
"""Rows that one reading transaction looks at."""

_Chunk = tables.Chunk
# Each condition by itself, and not one about all of them: PostgreSQL then looks up each row
# in an index, where it would read the whole other table for every page.
_UNREFERRED_FILE = and_(
    ~exists().where(VersionFile.file_id == File.id),
    ~exists().where(RunFile.file_id == File.id),
    ~exists().where(StagedEntry.file_id == File.id),
)
# A large file is stored in several transactions, and nothing refers to it before the last
# one. The upload that stores it holds its chunks.
_NOT_BEING_STORED = or_(
    File.next_chunk.is_(None),
    ~exists().where(FileChunk.file_id == File.id, FileChunk.idx == 0, Pin.chunk_id == FileChunk.chunk_id),
)
_FREE_FILE = and_(_UNREFERRED_FILE, _NOT_BEING_STORED)
_FREE_CHUNK = and_(
    ~exists().where(FileChunk.chunk_id == _Chunk.id),
    ~exists().where(Pin.chunk_id == _Chunk.id),
)


class Page(NamedTuple):
    """Ids without references, and the last id that was looked at; None at the end of the table."""

    ids: Sequence[int]
    last: int | None


class Freed(NamedTuple):
    """How many rows were deleted, the bytes that they stood for, and the ids that are still to be deleted."""

    rows: int
    size: int
    left: Sequence[int] = ()


def find_files(session: Session, after: int) -> Page:
    """The files without references among the next ones behind an id."""
    return _page(session, File.id, after, _FREE_FILE)


def find_chunks(session: Session, after: int) -> Page:
    """The same for chunks."""
    return _page(session, _Chunk.id, after, _FREE_CHUNK)


def delete_files(session: Session, ids: Sequence[int]) -> Freed:
    """Deletes those of the files that have no reference, with their lists of chunks.

    As much as one transaction should: a file of more chunks loses its last ones first,
    and is meanwhile as a large file that was not completely stored.
    """
    locked = select(File.id).where(File.id.in_(ids)).order_by(File.id).with_for_update(skip_locked=True)
    held = session.scalars(locked).all()
    last = select(func.max(FileChunk.idx)).where(FileChunk.file_id == File.id).scalar_subquery()
    free = session.execute(
        select(File.id, File.size, last).where(File.id.in_(held), _FREE_FILE).order_by(File.id)
    ).all()
    room = bounded.ROWS
    done: list[tuple[int, int]] = []
    for file_id, size, index in free:
        count = 0 if index is None else index + 1
        if count >= bounded.ROWS and not done:
            _shorten(session, file_id, count - bounded.ROWS)
        if count >= room:
            break
        done.append((file_id, size))
        room -= count
    session.execute(
        delete(File).where(File.id.in_([file_id for file_id, _ in done])),
        execution_options={"synchronize_session": False},
    )
    return Freed(len(done), sum(size for _, size in done), [row[0] for row in free[len(done) :]])


def delete_chunks(session: Session, ids: Sequence[int]) -> Freed:
    """Deletes those of the chunks that have no reference. Their bytes stay in their packs."""
    locked = select(_Chunk.id).where(_Chunk.id.in_(ids)).order_by(_Chunk.id).with_for_update(skip_locked=True)
    held = session.scalars(locked).all()
    sizes = session.scalars(
        delete(_Chunk).where(_Chunk.id.in_(held), _FREE_CHUNK).returning(_Chunk.size),
        execution_options={"synchronize_session": False},
    ).all()
    return Freed(len(sizes), sum(sizes))


def _shorten(session: Session, file_id: int, count: int) -> None:
    """Deletes the chunks of a file from an index on."""
    session.execute(update(File).where(File.id == file_id).values(next_chunk=count))
    session.execute(
        delete(FileChunk).where(FileChunk.file_id == file_id, FileChunk.idx >= count),
        execution_options={"synchronize_session": False},
    )


def _page(session: Session, key: InstrumentedAttribute[int], after: int, free: ColumnElement[bool]) -> Page:
    within, last = pages.span(session, key, after, PAGE)
    if session.get_bind().dialect.name == "postgresql":
        # An index for each row of the page: up to some million rows, reading the whole other table looks
        # cheaper to the planner, and is not.
        session.execute(text("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"))
    return Page(session.scalars(select(key).where(*within, free).order_by(key)).all(), last)
