"""Reads a table page by page, in the order of its ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute, Session

T = TypeVar("T", int, str)


def span(
    session: Session, key: InstrumentedAttribute[T], after: T, size: int
) -> tuple[Sequence[ColumnElement[bool]], T | None]:
    """The condition for the next rows behind an id, and the last id of them; None at the end of the table."""
    last = session.scalar(select(key).where(key > after).order_by(key).offset(size - 1).limit(1))
    return ([key > after] if last is None else [key > after, key <= last]), last
