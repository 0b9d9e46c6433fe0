"""Runs all checks of a database and its store, one after the other, the cheap ones first."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from modelyard.contract import errors
from modelyard_server.db import migrations
from modelyard_server.db.engine import Database
from modelyard_server.db.tables import StoreMeta
from modelyard_server.fsck import objects, pack_bytes, quarantine, scan
from modelyard_server.fsck.rows import (
    chunks,
    consoles,
    files,
    history,
    manifests,
    metrics,
    registry,
    relations,
)
from modelyard_server.fsck.scan import Deadline, Result
from modelyard_server.packs import store_from_url
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.settings import Location, StartError

ROWS = {
    "relations": relations.check,
    "versions": manifests.check,
    "files": files.check,
    "chunks": chunks.check,
    "collections": registry.check,
    "events": history.check,
    "consoles": consoles.check,
    "metrics": metrics.check,
}
"""The checks of rows by their names in reports, in the order in which they run."""
_CORRUPT = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_CORRUPTFS"}


@dataclass(frozen=True)
class Wanted:
    """What to do besides the checks of rows and of sizes in the store."""

    read_percent: float = 0.0
    max_seconds: float | None = None
    quarantine: bool = False


def check(location: Location, wanted: Wanted, show: Callable[[Result], None]) -> list[Result]:
    """Runs the checks, and calls `show` with the result of each. Raises StartError without a database."""
    results = []
    with _opened(location) as (database, store_id):
        for result in _results(location, database, store_id, wanted):
            if wanted.quarantine:
                result.findings = [quarantine.apply(database, each) for each in result.findings]
            show(result)
            results.append(result)
    return results


def _results(location: Location, database: Database, store_id: str, wanted: Wanted) -> Iterator[Result]:
    deadline = Deadline(wanted.max_seconds)
    for name, rows in ROWS.items():
        yield _guarded(name, functools.partial(scan.run, database, deadline, rows))
    try:
        stored = objects.Stored(database, _open_store(location, store_id))
    except (errors.CommError, StartError) as error:
        yield Result("objects", complete=False, error=str(error))
        return
    yield _guarded("objects", lambda result: objects.check(stored, deadline, result))
    if wanted.read_percent:
        yield _guarded(
            "bytes", lambda result: pack_bytes.check(stored, wanted.read_percent, deadline, result)
        )


def _guarded(name: str, work: Callable[[Result], None]) -> Result:
    """The result of a check, also of one that could not be ended."""
    result = Result(name)
    begin = time.monotonic()
    try:
        work(result)
    except errors.CommError as error:
        result.complete, result.error = False, str(error)
    except DBAPIError as error:
        result.complete, result.error = False, "the database cannot be read"
        if isinstance(error.orig, sqlite3.Error) and getattr(error.orig, "sqlite_errorname", "") in _CORRUPT:
            result.add("database_corrupt", f"SQLite: {error.orig}", {})
    result.seconds = time.monotonic() - begin
    return result


@contextmanager
def _opened(location: Location) -> Iterator[tuple[Database, str]]:
    """The database, and the id of the store that belongs to it."""
    if location.folder is not None and not (location.folder / "modelyard.db").is_file():
        raise StartError(f"there is no database in {location.folder}: give the folder with --data")
    database = Database(location.database, readers=2)
    try:
        found = migrations.current(database)
        if found != migrations.HEAD:
            raise StartError(
                f"the schema of the database is {found or 'missing'}, and this release checks "
                f"{migrations.HEAD}: run `modelyard server migrate`, or the release that wrote it"
            )
        store_id = database.read(lambda session: session.scalar(select(StoreMeta.store_id)))
        if store_id is None:
            raise StartError("the database has no store yet: no server has used it")
        yield database, store_id
    except (errors.CommError, DBAPIError) as error:
        raise StartError(f"the database cannot be used: {error} ({location.description})") from error
    finally:
        database.close()


def _open_store(location: Location, store_id: str) -> ConfirmedPacks:
    """The store, if it is the database's. Raises StartError, StoreUnavailable."""
    if not location.store.startswith("s3://"):
        folder = unquote(urlsplit(location.store).path) if "://" in location.store else location.store
        if not (Path(folder).expanduser() / "packs").is_dir():  # opening it would make the folders
            raise StartError("the store's folder has no packs: is its volume mounted?")
    try:
        store = store_from_url(location.store)
    except ValueError as error:
        raise StartError(f"the store cannot be used: {error}") from error
    found = store.store_id()
    if found != store_id:
        raise StartError(
            f"this is not the store of the database, which expects the store id {store_id}, and finds "
            f"{found or 'none'}: nothing was compared"
        )
    return ConfirmedPacks(store, store_id)
