"""The work of `modelyard server migrate`, `doctor` and `key`.

Changes of keys are short writes, which may run beside a server: the database
locks what they need. A migration takes the data folder's lock.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db import migrations
from modelyard_server.db.caller_tables import ApiKey
from modelyard_server.db.engine import Database, now
from modelyard_server.domain import events
from modelyard_server.domain.access import keys
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content import confirmation
from modelyard_server.packs import PackStore, pack_key
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.process import data_folder, startup_retry, storage, tls
from modelyard_server.release import VERSION
from modelyard_server.settings import Location, StartError

if TYPE_CHECKING:
    from modelyard_server.packs.s3 import S3Store

CLOCK_SECONDS = 60.0
FREE_BYTES = 1 << 30
NEWEST_PACKS = 100


class Finding(NamedTuple):
    """One line of `doctor`. `new` is what does not exist yet, which is not a problem."""

    ok: bool
    what: str
    detail: str
    new: bool = False


class _NotCreated(Exception):
    """Something does not exist yet; `start` and `migrate` create it."""


def migrate(location: Location, wait_seconds: float = startup_retry.COMMAND_SECONDS) -> str:
    """Migrates the schema to this release; waits for a database that cannot be reached. Raises StartError."""
    held = data_folder.held(location.folder) if location.folder else nullcontext()
    with held:
        changed = startup_retry.for_some_time(wait_seconds, lambda: _upgrade(location))
    return (
        f"the schema is now {migrations.HEAD}"
        if changed
        else f"nothing to do: the schema is {migrations.HEAD}"
    )


def _upgrade(location: Location) -> bool:
    database = Database(location.database)
    try:
        return migrations.upgrade(database)
    except (errors.CommError, migrations.SchemaTooNew) as error:
        raise storage.start_error("database", error, f"{error} ({location.description})") from error
    finally:
        database.close()


def create_key(location: Location, name: str, entity: str, *, all_entities: bool) -> str:
    """Makes a key; returns its text. Raises StartError, CommError."""
    with ready_database(location) as database:
        _key, shown = database.write(
            lambda session: keys.create(session, name, entity, all_entities=all_entities)
        )
    return shown


def make_bucket(location: Location, wait_seconds: float) -> str:
    """Creates the store's bucket if it does not exist; waits for a store that cannot be reached.

    Raises StartError.
    """
    store = storage.open_store(location)
    if not location.store.startswith("s3://"):
        raise StartError("--make-bucket is for a --store of the form s3://bucket?endpoint=…")
    from modelyard_server.packs.s3 import S3Store  # imports minio, which other stores do not need

    assert isinstance(store, S3Store)
    is_new = startup_retry.for_some_time(wait_seconds, lambda: _make_bucket(store))
    return "the bucket was created" if is_new else "the bucket exists"


def _make_bucket(store: S3Store) -> bool:
    try:
        return store.make_bucket()
    except errors.CommError as error:
        raise storage.start_error("store", error, f"the store cannot be used: {error}") from error


def adopt_key(
    location: Location, text: str, name: str, entity: str, *, all_entities: bool, if_absent: bool
) -> str:
    """Stores a key that was made elsewhere. Raises StartError, CommError."""
    with ready_database(location) as database:
        owned, new = database.write(
            lambda session: keys.adopt(
                session, text, name, entity, all_entities=all_entities, if_absent=if_absent
            )
        )
        return f"{owned.key.id} ({owned.principal.name}) {'is made' if new else 'is there already'}"


def list_keys(location: Location) -> list[str]:
    """Returns a line for each key. Raises StartError, CommError."""
    with ready_database(location) as database:
        found = database.read(keys.listed)
    return [_key_line(*owned) for owned in found]


def _key_line(key: ApiKey, who: Principal) -> str:
    reach = f"{who.entity}{' (all entities)' if key.all_entities else ''}"
    state = f"revoked {_date(key.revoked_at)}" if key.revoked_at else "live"
    return f"{key.id}  {who.name}  {reach}  principal {who.id}  made {_date(key.created_at)}  {state}"


def revoke_key(location: Location, key_id: str) -> str:
    """Revokes a key. Raises StartError, CommError."""
    with ready_database(location) as database:
        owned = database.write(lambda session: keys.revoke(session, key_id))
    return f"{owned.key.id} ({owned.principal.name}) is revoked"


def examine(location: Location) -> list[Finding]:
    """Checks everything that a server needs. Creates nothing."""
    findings = [Finding(True, "release", f"modelyard {VERSION}, schema {migrations.HEAD}")]
    if location.folder is not None:
        findings.append(_try("data folder", lambda: _folder(location)))
    if location.folder is None or (location.folder / "modelyard.db").exists():
        return findings + _examine_database(location)
    if location.folder.is_dir():
        findings.append(_try("database", _no_database))
    if _exists(location.store):
        findings.append(_try("store", lambda: _store(storage.open_store(location))))
        findings.append(_try("store's id", lambda: _unclaimed(storage.open_store(location))))
    return findings


def examine_certificate(certificate: Path, key: Path) -> Finding:
    """Checks whether clients will accept the certificate."""

    def check() -> str:
        wrong = tls.check(certificate, key)
        if wrong:
            raise StartError(wrong)
        return f"{certificate} is valid and belongs to its key"

    return _try("certificate", check)


def _examine_database(location: Location) -> list[Finding]:
    """Checks the database, and whether the store belongs to it."""
    findings = []
    database = Database(location.database)
    try:
        findings.append(_try("database", lambda: _database(database)))
        has_schema = findings[0].ok and not findings[0].new
        if has_schema:
            findings.append(
                _try("database clock", lambda: _clock("the database", _database_seconds(database)))
            )
        if has_schema and not database.is_sqlite:
            findings.append(_try("durability", lambda: database.read(_durability)))
        findings.append(_try("store", lambda: _store(storage.open_store(location))))
        if has_schema and all(finding.ok for finding in findings if finding.what != "durability"):
            findings.append(_try("store's id", lambda: _store_id(database, storage.open_store(location))))
            if findings[-1].ok:
                findings.append(_try("packs", lambda: _packs(database, storage.open_store(location))))
        elif findings[-1].ok and findings[0].ok:
            findings.append(_try("store's id", lambda: _unclaimed(storage.open_store(location))))
    finally:
        database.close()
    return findings


def _try(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(True, what, check())
    except _NotCreated as new:
        return Finding(True, what, str(new), new=True)
    except (StartError, errors.CommError, migrations.SchemaTooNew, OSError) as error:
        return Finding(False, what, str(error))


def _folder(location: Location) -> str:
    assert location.folder is not None
    if not location.folder.exists():
        parent = next(each for each in location.folder.parents if each.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise StartError(
                f"{location.folder} cannot be created: {parent} is not a folder that you may write to"
            )
        raise _NotCreated(f"{location.folder} does not exist yet")
    if not location.folder.is_dir():
        raise StartError(f"{location.folder} is not a folder")
    free = shutil.disk_usage(location.folder).free
    if free < FREE_BYTES:
        raise StartError(
            f"{location.folder} has only {free >> 20} MiB free: make room, or move it with --data"
        )
    kind = data_folder.file_system(location.folder)
    return f"{location.folder}, {free >> 20} MiB free{f', {kind}' if kind else ''}"


def _no_database() -> str:
    raise _NotCreated("it does not exist yet")


def _exists(store: str) -> bool:
    """Whether there is a store to check. A store in a folder is created with the folder."""
    return store.startswith("s3://") or Path(store.removeprefix("file://")).exists()


def _database(database: Database) -> str:
    found = migrations.current(database)
    if found is None:
        raise _NotCreated("it is empty")
    if found in migrations.REVISIONS and found != migrations.HEAD:
        raise StartError(f"its schema is {found}: run `modelyard server migrate`")
    query = "SELECT sqlite_version()" if database.is_sqlite else "SHOW server_version"
    release = database.read(lambda session: session.execute(text(query)).scalar_one())
    return f"{'SQLite' if database.is_sqlite else 'PostgreSQL'} {release}, schema {found}"


def _database_seconds(database: Database) -> float:
    return database.read(_ahead)


def _ahead(session: Session) -> float:
    return now(session) / 1e6 - time.time()


def _store(store: PackStore) -> str:
    check = store.check()
    room = "free space unknown"
    if check.free_bytes is not None:
        if check.free_bytes < FREE_BYTES:
            raise StartError(f"only {check.free_bytes >> 20} MiB free: make room")
        room = f"{check.free_bytes >> 20} MiB free"
    return f"write, read back and delete work; {_clock('the store', check.ahead.total_seconds())}; {room}"


def _clock(whose: str, ahead: float) -> str:
    if abs(ahead) > CLOCK_SECONDS:
        raise StartError(f"the clock of {whose} is {ahead:+.0f} s off ours: set both by NTP")
    return f"clock {ahead:+.1f} s off ours"


def _durability(session: Session) -> str:
    """Checks whether PostgreSQL makes commits durable."""
    problems = []
    for name, why in (
        ("fsync", "a power cut can destroy the database: set fsync = on"),
        ("synchronous_commit", "a crash loses commits that were acknowledged: set synchronous_commit = on"),
    ):
        if session.execute(text(f"SHOW {name}")).scalar_one() == "off":
            problems.append(f"{name} is off, and {why}")
    if problems:
        raise StartError("; ".join(problems))
    return "fsync and synchronous_commit are on"


def _store_id(database: Database, store: PackStore) -> str:
    storage.require_same_store(database, store)
    storage.require_newest(database, store)
    return "the database and the store belong together"


def _packs(database: Database, store: PackStore) -> str:
    """Checks that the store has the newest packs, which a crash or a restore is most likely to lose."""
    packs = database.read(lambda session: confirmation.newest_packs(session, NEWEST_PACKS))
    losses = ConfirmedPacks(store, storage.require_same_store(database, store)).losses(packs)
    if losses:
        first, left = losses[0]
        raise StartError(
            f"{len(losses)} of the newest {len(packs)} are missing or too short, the first of them "
            f"{pack_key(first.entity_id, first.pack_id)} ({left} of {first.size} bytes): restore them from "
            "the store's backup, or log the versions that need them again"
        )
    return f"the newest {len(packs)} are complete in the store"


def _unclaimed(store: PackStore) -> str:
    if next(store.list(), None) is not None:
        raise StartError(
            "the store holds the bytes of another database: restore that database from its backup, "
            "or give a new server a --store of its own"
        )
    return "the store is empty"


@contextmanager
def ready_database(location: Location) -> Iterator[Database]:
    """Opens the database, and migrates its schema if that is missing or old."""
    if location.folder is not None and not (location.folder / "modelyard.db").exists():
        migrate(location)
    database = Database(location.database, finish=events.flush)
    try:
        if migrations.is_behind(database):
            database.close()
            migrate(location)
        yield database
    finally:
        database.close()


def _date(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
