"""Holds: rows that forbid deleting objects of the store, while a backup copies them.

A backup inserts a hold, then copies the database, then the store. A collector chooses
what to delete by one statement that finds packs only where it sees no hold. What it
finds was given up before the hold was committed, so the copy of the database, which
is made later, does not need it. Time only decides when a hold ends whose holder is gone.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from sqlalchemy import ColumnElement, Table, delete, exists, select, update
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db.engine import now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import DeletionHold
from modelyard_server.domain import fields

_H = cast(Table, DeletionHold.__table__)
LONGEST = 30 * 24 * 3600 * 1_000_000
"""Microseconds that a hold lasts at most, unless it is renewed."""


class Hold(NamedTuple):
    """A hold; times in microseconds."""

    id: str
    holder: str
    created_at: int
    expires_at: int


def place(session: Session, holder: str, lifetime: int) -> Hold:
    """Inserts a hold that lasts for `lifetime` microseconds. Raises InvalidField."""
    if not 0 < lifetime <= LONGEST:
        raise errors.InvalidField.of("lifetime", "must be positive, and at most 30 days")
    time = now(session)
    hold = Hold(new_id(), holder[:128], time, time + lifetime)
    session.execute(_H.insert(), hold._asdict())
    session.execute(delete(DeletionHold).where(DeletionHold.expires_at <= time - LONGEST))
    return hold


def renew(session: Session, hold_id: str, lifetime: int) -> None:
    """Lets a hold last for `lifetime` from now on. Raises NotFound if it has ended."""
    time = now(session)
    renewed = update(_H).where(_H.c.id == hold_id, _H.c.expires_at > time).values(expires_at=time + lifetime)
    if session.connection().execute(renewed).rowcount != 1:
        raise errors.NotFound(f"the hold {hold_id} has ended: what it kept may have been deleted")


def release(session: Session, hold_id: str) -> bool:
    """Ends a hold; returns whether it had not ended by itself."""
    wanted = fields.parse_id("hold", hold_id)
    time = now(session)
    ended = delete(_H).where(_H.c.id == wanted).returning(_H.c.expires_at)
    expires_at = session.execute(ended).scalar()
    return expires_at is not None and expires_at > time


def listed(session: Session) -> list[Hold]:
    """The holds that have not ended, oldest first."""
    rows = select(_H.c.id, _H.c.holder, _H.c.created_at, _H.c.expires_at)
    found = session.execute(rows.where(_H.c.expires_at > now(session)).order_by(_H.c.created_at))
    return [Hold(*row) for row in found]


def any_live(session: Session) -> bool:
    """Whether something is held now."""
    return bool(session.scalar(select(~absent(session))))


def absent(session: Session) -> ColumnElement[bool]:
    """The condition that nothing is held, for the statement that chooses what to delete."""
    return ~exists().where(_H.c.expires_at > now(session))
