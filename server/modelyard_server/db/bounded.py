"""Batches: how many rows one transaction writes, so that other writes can run between two of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, delete, inspect, select, tuple_
from sqlalchemy.orm import Session

ROWS = 5_000
"""The approximate number of rows that one transaction inserts or deletes: 20 to 50 ms on SQLite.

A later release may lower it but not raise it: a file with this many chunks is stored
in several transactions, and a half stored one must be recognized as such.
"""


def delete_some(session: Session, table: type[Any], *where: ColumnElement[bool], limit: int = ROWS) -> int:
    """Deletes at most `limit` of the rows; returns how many."""
    key = tuple_(*inspect(table).primary_key)
    some = select(*inspect(table).primary_key).where(*where).limit(limit)
    done: Any = session.execute(
        delete(table).where(key.in_(some)), execution_options={"synchronize_session": False}
    )
    return int(done.rowcount)
