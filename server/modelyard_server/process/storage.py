"""Opens the database and the pack store that the settings name, and checks that they belong together."""

from __future__ import annotations

import functools
import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db import migrations
from modelyard_server.db.connecting import DatabaseRefused
from modelyard_server.db.engine import Database, now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import StoreMeta
from modelyard_server.domain import events
from modelyard_server.domain.access import keys, owners
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.content import confirmation
from modelyard_server.domain.registry import number_marks
from modelyard_server.domain.registry.number_marks import Position
from modelyard_server.packs import PackStore, store_from_url
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.packs.store import StoreRefused
from modelyard_server.rpc.dispatch.executors import POSTGRESQL_CONNECTIONS, SQLITE_CONNECTIONS
from modelyard_server.settings import Location, NotReachable, Settings, StartError

log = logging.getLogger(__name__)


def open_both(settings: Settings) -> tuple[Database, ConfirmedPacks]:
    """Opens the database and the store. Raises StartError, NotReachable."""
    database = open_database(settings.location)
    try:
        store = open_store(settings.location)
        packs = ConfirmedPacks(store, require_same_store(database, store))
        require_newest(database, store)
        require_key_or_loopback(settings, database)
    except BaseException as error:
        database.close()
        if isinstance(error, errors.CommError):
            raise start_error(
                "database", error, f"{error} (database: {settings.location.description})"
            ) from error
        raise
    confirmation.set_confirmed_packs(database, packs)
    return database, packs


def open_database(location: Location) -> Database:
    """Opens the database and migrates it to this release's schema. Raises StartError, NotReachable.

    Where a full disk has no room for the files that SQLite creates beside its
    database, it is opened with one connection, which does not need them: reads
    work, more slowly, and writes are refused.
    """
    is_sqlite = location.database.startswith("sqlite")
    readers = SQLITE_CONNECTIONS if is_sqlite else POSTGRESQL_CONNECTIONS
    for alone in (False, True):
        database = Database(location.database, readers=readers, finish=events.flush, alone=alone)
        try:
            migrations.upgrade(database)
            return database
        except (errors.CommError, migrations.SchemaTooNew) as error:
            database.close()
            if isinstance(error, errors.DiskFull) and database.is_sqlite and not alone:
                log.warning("%s: reads are served by one connection, and writes are refused", error)
                continue
            raise start_error("database", error, f"{error} ({location.description})") from error
    raise AssertionError("unreachable")


def start_error(what: str, error: Exception, message: str) -> StartError:
    """Makes a NotReachable where a retry may help, otherwise a StartError."""
    refused = (DatabaseRefused, StoreRefused)
    unavailable = (errors.DatabaseUnavailable, errors.StoreUnavailable)
    if isinstance(error, unavailable) and not isinstance(error, refused):
        return NotReachable(what, error, message)
    return StartError(message)


def open_store(location: Location) -> PackStore:
    """Opens the store of the packs. Raises StartError, NotReachable."""
    try:
        return store_from_url(location.store)
    except (ValueError, errors.CommError) as error:
        raise start_error("store", error, f"the store cannot be used: {error}") from error


def require_same_store(database: Database, store: PackStore) -> str:
    """Returns the id that database and store have in common; the first start sets it. Raises StartError."""
    try:
        known = database.read(_store_id)
        if known is None:
            known = database.write(functools.partial(_claim, store))
        found = store.store_id()
    except errors.DatabaseUnavailable:
        raise
    except errors.CommError as error:
        raise start_error("store", error, f"the store cannot be used: {error}") from error
    if found == known:
        return known
    belongs = "belongs to another database" if found else "is empty, or is another store"
    raise StartError(
        f"this store {belongs}: the database expects the store id {known}, and the store has "
        f"{found or 'none'}. "
        "Give the --store that belongs to this --database, or restore it from its backup"
    )


def require_newest(database: Database, store: PackStore) -> None:
    """Raises StartError if the store knows of events that the database lacks: numbers would be repeated."""
    try:
        marks = [Position(*mark) for mark in store.marks()]
        database.read(functools.partial(number_marks.require_newest, marks=marks))
    except number_marks.RestoreNeeded as error:
        raise StartError(str(error)) from error
    except errors.DatabaseUnavailable:
        raise
    except errors.CommError as error:
        raise start_error("store", error, f"the store cannot be used: {error}") from error


def _store_id(session: Session) -> str | None:
    return session.scalar(select(StoreMeta.store_id))


def _claim(store: PackStore, session: Session) -> str:
    """Ties the store to this database. The row comes first, so that of several servers only one does it."""
    known = _store_id(session)
    if known is not None:
        return known
    meta = StoreMeta(id=1, store_id=new_id(), created_at=now(session))
    session.add(meta)
    session.flush()
    owners.ensure_entity(session, LOCAL, "")  # lists on a new server are empty instead of NOT_FOUND
    found = store.store_id()
    if found is not None and next(store.list(), None) is not None:
        raise StartError(
            "this store belongs to another database, and this database is new: give the --database that "
            "belongs to it, or an empty store"
        )
    # A server that was killed at this point leaves an empty store that has an id already.
    meta.store_id = found or store.claim(meta.store_id)
    return meta.store_id


def require_key_or_loopback(settings: Settings, database: Database) -> None:
    """Raises StartError where other machines can connect and there is no key, unless `--no-auth` is given."""
    if settings.loopback or settings.no_auth or database.read(keys.any_live):
        return
    raise StartError(
        f"--host {settings.host} accepts calls from other machines, and there is no API key yet: make one "
        "with `modelyard server key create NAME` (and the same --data or --database), or give --no-auth"
    )
