"""The work of `modelyard server hold`: holds for backups that other tools make."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.orm import Session

from modelyard_server.db.engine import Database
from modelyard_server.domain.content import holds
from modelyard_server.process import storage
from modelyard_server.settings import Location, StartError

T = TypeVar("T")


def create(location: Location, name: str, lifetime: int) -> str:
    """Makes a hold that lasts for `lifetime` microseconds; returns its id. Raises StartError, CommError."""
    return _write(location, lambda session: holds.place(session, name, lifetime)).id


def lines(location: Location) -> list[str]:
    """A line for each hold. Raises StartError, CommError."""
    found = _write(location, holds.listed)
    return [
        f"{hold.id}  {hold.holder}  made {_date(hold.created_at)}  until {_date(hold.expires_at)}"
        for hold in found
    ]


def release(location: Location, hold_id: str) -> bool:
    """Ends a hold; False if it had ended by itself. Raises StartError, CommError."""
    return _write(location, lambda session: holds.release(session, hold_id))


def _write(location: Location, rule: Callable[[Session], T]) -> T:
    if location.folder is not None and not (location.folder / "modelyard.db").is_file():
        raise StartError(f"there is no database in {location.folder}: give the folder with --data")
    database: Database = storage.open_database(location)
    try:
        return database.write(rule)
    finally:
        database.close()


def _date(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
