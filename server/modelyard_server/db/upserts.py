"""Inserts that skip or update existing rows, the same on both databases."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

T = TypeVar("T")

BATCH = 500
"""Values in one IN list, so that statements stay small and compiled ones are shared."""


def insert(session: Session, table: Any) -> sqlite.Insert | postgresql.Insert:
    """The INSERT construct of this database that supports ON CONFLICT."""
    target: Table = getattr(table, "__table__", table)
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(target)
    return postgresql.insert(target)


def inserting_missing(session: Session, table: Any, *returned: Any) -> Any:
    """An INSERT that skips rows whose key is taken, and returns these columns of the others.

    The same object each time, so that it is compiled once.
    """
    return _inserting_missing(session.get_bind().dialect.name, table.__table__, returned)


@functools.cache
def _inserting_missing(dialect: str, table: Table, returned: tuple[Any, ...]) -> Any:
    making = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement = making(table).on_conflict_do_nothing()
    return statement.returning(*returned) if returned else statement


def insert_missing(session: Session, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts the rows whose key is not taken. Callers sort them by key, so that no deadlock is possible."""
    if rows:
        session.execute(inserting_missing(session, table), list(rows))


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """The items in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
