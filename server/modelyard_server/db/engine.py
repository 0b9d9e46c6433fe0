"""Connections and transactions, the same shape on SQLite and PostgreSQL.

`read` and `write` run one function in one transaction on the calling thread.
A write that loses against another one is run again: rules must therefore have
no effect outside their session.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from modelyard.contract import errors
from modelyard_server.db import attributes
from modelyard_server.db.conflicts import ConstraintBroken, conflict_name, is_conflict
from modelyard_server.observability import telemetry

T = TypeVar("T")
log = logging.getLogger(__name__)

BINARY_RESULTS = {"binary_results": True}
"""Execution options of a SELECT of many bytes: PostgreSQL sends them as they are, not as text.

Numbers and text may be selected with them; other types are not converted.
"""
ATTEMPTS = 5
BUSY_SECONDS = 60


class Database:
    """One database. `finish` runs at the end of every write, inside its transaction.

    `alone`, for SQLite: one connection for everything, which makes no file of shared memory.
    """

    def __init__(
        self,
        url: str,
        *,
        readers: int = 8,
        finish: Callable[[Session], None] | None = None,
        alone: bool = False,
    ) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._finish = finish
        self.info: dict[str, Any] = {}
        """Put into the `info` of every session."""
        if self.is_sqlite and alone:
            self._readers = self._writer = _sqlite_engine(self.url, pool_size=1, begin="BEGIN", alone=True)
        elif self.is_sqlite:
            self._readers = _sqlite_engine(self.url, pool_size=readers, begin="BEGIN")
            # One connection: writers queue here in order, instead of failing with SQLITE_BUSY.
            self._writer = _sqlite_engine(self.url, pool_size=1, begin="BEGIN IMMEDIATE")
        else:
            self._readers = self._writer = _postgresql_engine(self.url, pool_size=readers)

    @property
    def engine(self) -> Engine:
        """The engine that writes, for migrations and maintenance."""
        return self._writer

    def read(self, rule: Callable[[Session], T]) -> T:
        """The rule's result from one consistent snapshot or statement sequence; changes are dropped."""
        with telemetry.step("database read", telemetry.TRANSACTION_SECONDS, "read"):
            return self._attempt(lambda: self._run(self._readers, rule, commit=False))

    def write(self, rule: Callable[[Session], T]) -> T:
        """Returns the rule's result once it is committed. Retried at most five times after conflicts."""
        with telemetry.step("database write", telemetry.TRANSACTION_SECONDS, "write"):
            return self._attempt(lambda: self._run(self._writer, rule, commit=True))

    def close(self) -> None:
        """Closes every connection."""
        self._readers.dispose()
        self._writer.dispose()

    def _run(self, engine: Engine, rule: Callable[[Session], T], *, commit: bool) -> T:
        with _Session(engine, expire_on_commit=False, autoflush=True, info=self.info) as session:
            result = rule(session)
            if commit:
                session.flush()
                if self._finish is not None:
                    self._finish(session)
                session.commit()
            return result

    def _attempt(self, transaction: Callable[[], T]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                return transaction()
            except PoolTimeout as error:
                raise errors.DatabaseUnavailable("every connection to the database is busy") from error
            except DBAPIError as error:
                if isinstance(error, IntegrityError) and not is_conflict(error):
                    # Not chained to the database's error, whose text may quote the row.
                    raise ConstraintBroken.by(error).with_traceback(error.__traceback__) from None
                if not is_conflict(error):
                    raise _translate(error) from error
                log.info("transaction runs again (%s): %s", attempt + 1, type(error.orig).__name__)
                telemetry.TRANSACTION_RETRIES.add(1)
                last = error
            # Backoff with jitter, so that two transactions that conflicted do not conflict again.
            time.sleep(random.uniform(0, 0.01 * 2**attempt))
        # Without its text, which may quote a row.
        log.warning("a transaction lost %s times, the last time by %s", ATTEMPTS, conflict_name(last))
        raise errors.RetryTransaction("others keep changing the same rows; repeat the call") from last


class _Session(Session):
    """A session that updates the index of attributes with the rows it writes."""


event.listen(_Session, "before_flush", attributes.prepare)
event.listen(_Session, "after_flush", attributes.store)


def now(session: Session) -> int:
    """The database's time in microseconds since 1970, the same for a whole transaction."""
    known = session.info.get("now")
    if known is None:
        if session.get_bind().dialect.name == "sqlite":
            # SQLite has no clock of its own: use the process's.
            known = time.time_ns() // 1000
        else:
            known = session.execute(text("SELECT (extract(epoch FROM now()) * 1000000)::bigint")).scalar_one()
        session.info["now"] = known
    return int(known)


def one_snapshot(session: Session) -> None:
    """Makes all statements of a reading transaction see one state. Call it before the first of them."""
    if session.info.get("snapshot") or session.get_bind().dialect.name == "sqlite":
        return  # a transaction of SQLite always does
    session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    session.info["snapshot"] = True


def set_now(session: Session, time: int) -> None:
    """Sets the time of the transaction, for work that must not use the clock."""
    session.info["now"] = time


def _translate(error: DBAPIError) -> Exception:
    """The error to raise instead of the driver's."""
    if isinstance(error.orig, sqlite3.Error):
        return _translate_sqlite(error)
    if error.connection_invalidated or isinstance(error, OperationalError):
        if getattr(error.orig, "sqlstate", None) == "53100":
            return errors.DiskFull("the database has no room left")
        return errors.DatabaseUnavailable("the database did not answer")
    return error


def _translate_sqlite(error: DBAPIError) -> Exception:
    name = getattr(error.orig, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return errors.DatabaseUnavailable(f"the database was locked for {BUSY_SECONDS} seconds")
    if name == "SQLITE_FULL":
        return errors.DiskFull("the database has no room left")
    if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")):
        return errors.DatabaseUnavailable("the database cannot be read or written")
    return error


def _postgresql_engine(url: URL, *, pool_size: int) -> Engine:
    if url.get_driver_name() != "psycopg":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=2,
        pool_timeout=30,
        # Replaces connections that broke while idle.
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        connect_args={"connect_timeout": 5, "application_name": "modelyard"},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # Compiling a statement takes a hundred times longer than running any of ours.
        connection.execute("SET jit = off")
        connection.commit()

    @event.listens_for(engine, "before_cursor_execute")
    def _choose_format(
        _connection: Any, cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool
    ) -> None:
        if context is not None and context.execution_options.get("binary_results"):
            cursor.format = 1  # psycopg.pq.Format.BINARY; psycopg is imported only where it is used

    return engine


def _sqlite_engine(url: URL, *, pool_size: int, begin: str, alone: bool = False) -> Engine:
    """`alone`: the connection locks the database exclusively and creates no shared-memory file."""
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        pool_use_lifo=True,  # the connection used last has warm caches
        hide_parameters=True,  # keeps user values out of logs
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions: `begin` does
        if alone:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        if connection.execute("PRAGMA foreign_keys").fetchone() != (1,):
            raise RuntimeError("this SQLite library does not enforce foreign keys")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine
