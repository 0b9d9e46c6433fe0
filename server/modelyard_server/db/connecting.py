"""Classifies database errors at start: temporary, disk full, or permanent."""

from __future__ import annotations

import os
import re
import sqlite3

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from modelyard.contract import errors

_TEMPORARY = re.compile("08|53|57P")
"""SQLSTATEs of broken connections, of servers without free connections, and of starting or stopping ones."""

# Before a connection is established, libpq gives no SQLSTATE, only the server's text. Texts that are not
# listed count as temporary, as do those in other languages.
_REFUSALS = re.compile(
    "authentication failed|no password supplied|no pg_hba.conf entry|does not exist|permission denied"
    "|is not permitted to log in|is not currently accepting connections|no such (database|user)"
    "|certificate verify failed|does not support SSL|invalid (connection option|port|sslmode)",
    re.IGNORECASE,
)
_NO_ROOM = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")
_ROOM_BYTES = 1 << 20


class DatabaseRefused(errors.DatabaseUnavailable):
    """The database refuses access or cannot be read. Retrying does not help."""


def error_at_start(error: DBAPIError, url: URL) -> errors.CommError:
    """The error to raise: DatabaseUnavailable if waiting may help, DiskFull, or DatabaseRefused."""
    if isinstance(error.orig, sqlite3.Error):
        return _of_sqlite(error.orig, url)
    sqlstate = getattr(error.orig, "sqlstate", None) or ""
    text = str(error.orig)
    if sqlstate == "53100":
        return errors.DiskFull(f"the database has no room left: {text}")
    is_away = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    if _TEMPORARY.match(sqlstate) or (is_away and not sqlstate and not _REFUSALS.search(text)):
        return errors.DatabaseUnavailable(f"the database did not answer: {text}")
    return DatabaseRefused(f"the database refused: {text}")


def _of_sqlite(error: sqlite3.Error, url: URL) -> errors.CommError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return errors.DatabaseUnavailable(f"the database did not answer: {error}")
    if name == "SQLITE_FULL" or (name.startswith(_NO_ROOM) and _is_full(url.database or "")):
        return errors.DiskFull(f"the disk of {url.database} is full")
    return DatabaseRefused(f"the database cannot be read or written: {error}")


def _is_full(path: str) -> bool:
    """SQLite reports a full disk as an input/output error if it cannot grow its shared-memory file."""
    try:
        found = os.statvfs(os.path.dirname(path) or ".")
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _ROOM_BYTES
