"""The states of packs that hold nothing any more: live → trash → gone, or writing → trash.

Only the transaction that makes a pack live, and one that moves chunks into a new pack,
add chunks to a pack. So one without chunks gets none any more once it is live, and its
object may be deleted. A state is left by a conditional update: of a writer and a
collector, or of two collectors, exactly one changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.orm import Session

from modelyard_server.collecting import pages
from modelyard_server.db import tables
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Pack
from modelyard_server.domain.content import holds

PAGE = 200
"""Packs whose chunks one reading transaction adds up: about 10,000."""
TRASH_BATCH = 100

BEFORE_ALL = "00000000-0000-0000-0000-000000000000"
"""Less than the id of any pack."""
_Chunk = tables.Chunk
_WITHOUT_CHUNKS = ~exists().where(_Chunk.pack_id == Pack.id)


class PackUse(NamedTuple):
    """A live pack: its size, and the bytes of chunks in it, all of them and those that are damaged."""

    id: str
    entity_id: int
    size: int
    used: int
    damaged: int


class Trashed(NamedTuple):
    """A pack whose object is to be deleted."""

    id: str
    entity_id: int
    size: int


def uses(session: Session, after: str) -> tuple[list[PackUse], str | None]:
    """What the next live packs behind an id hold, and the last id; None at the end of the table."""
    within, last = pages.span(session, Pack.id, after, PAGE)
    damaged = func.sum(_Chunk.size).filter(_Chunk.quarantined_at.is_not(None))
    rows = session.execute(
        select(Pack.id, Pack.entity_id, Pack.size, func.coalesce(func.sum(_Chunk.size), 0), damaged)
        .outerjoin(_Chunk, _Chunk.pack_id == Pack.id)
        .where(*within, Pack.state == "live")
        .group_by(Pack.id)
        .order_by(Pack.id)
    )
    return [PackUse(*row[:3], int(row[3]), int(row[4] or 0)) for row in rows], last


def give_up_unused(session: Session, ids: Sequence[str]) -> list[Trashed]:
    """Makes trash of those of the live packs that hold no chunk."""
    return _give_up(session, ids, "live", _WITHOUT_CHUNKS)


def abandoned(session: Session, older: int) -> Sequence[str]:
    """At most 100 packs that have been written for so many microseconds, the oldest first."""
    rows = select(Pack.id).where(Pack.state == "writing", Pack.changed_at <= now(session) - older)
    return session.scalars(rows.order_by(Pack.changed_at).limit(TRASH_BATCH)).all()


def give_up_abandoned(session: Session, ids: Sequence[str]) -> list[Trashed]:
    """Makes trash of those of the packs that are still being written. Their writers lose the fence."""
    return _give_up(session, ids, "writing")


def old_trash(session: Session, older: int) -> list[Trashed]:
    """At most 100 packs that have been trash for so many microseconds, the oldest first; none while held."""
    # One statement, which sees holds and states at one moment: see domain/content/holds.py.
    rows = select(Pack.id, Pack.entity_id, Pack.size).where(
        Pack.state == "trash", Pack.changed_at <= now(session) - older, holds.absent(session)
    )
    return [Trashed(*row) for row in session.execute(rows.order_by(Pack.changed_at).limit(TRASH_BATCH))]


def trash_size(session: Session) -> int:
    """The bytes of all packs in the trash."""
    return int(session.scalar(select(func.sum(Pack.size)).where(Pack.state == "trash")) or 0)


def mark_gone(session: Session, ids: Sequence[str]) -> int:
    """Records that the objects of packs in the trash were deleted. Returns how many it changed."""
    done: Any = session.execute(
        update(Pack)
        .where(Pack.id.in_(ids), Pack.state == "trash")
        .values(state="gone", changed_at=now(session)),
        execution_options={"synchronize_session": False},
    )
    return int(done.rowcount)


def forget_gone(session: Session, older: int) -> int:
    """Deletes at most 100 rows of packs that have been gone for so many microseconds; returns how many."""
    rows = select(Pack.id).where(Pack.state == "gone", Pack.changed_at <= now(session) - older)
    some = rows.order_by(Pack.changed_at).limit(TRASH_BATCH).with_for_update(skip_locked=True)
    ids = session.scalars(some).all()
    session.execute(
        delete(Pack).where(Pack.id.in_(ids), Pack.state == "gone"),
        execution_options={"synchronize_session": False},
    )
    return len(ids)


def _give_up(session: Session, ids: Sequence[str], state: str, *also: ColumnElement[bool]) -> list[Trashed]:
    locked = select(Pack.id).where(Pack.id.in_(ids), Pack.state == state).order_by(Pack.id)
    held = session.scalars(locked.with_for_update(skip_locked=True)).all()
    rows = session.execute(
        update(Pack)
        .where(Pack.id.in_(held), Pack.state == state, *also)
        .values(state="trash", changed_at=now(session))
        .returning(Pack.id, Pack.entity_id, Pack.size),
        execution_options={"synchronize_session": False},
    )
    return [Trashed(*row) for row in rows]
