"""Portions: how much one transaction writes, so that others get their turn between two of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, delete, inspect, select, tuple_
from sqlalchemy.orm import Session

ROWS = 5_000
"""Rows that one transaction inserts or deletes, about: 20 to 50 ms on SQLite, which has one writer.

A later release may lower it, not raise it: a file of as many chunks as this is
stored in several transactions, and has to be found half stored as such.
"""


def delete_some(session: Session, table: type[Any], *where: ColumnElement[bool], limit: int = ROWS) -> int:
    """Deletes at most `limit` of the rows, and says how many."""
    key = tuple_(*inspect(table).primary_key)
    some = select(*inspect(table).primary_key).where(*where).limit(limit)
    done: Any = session.execute(
        delete(table).where(key.in_(some)), execution_options={"synchronize_session": False}
    )
    return int(done.rowcount)
