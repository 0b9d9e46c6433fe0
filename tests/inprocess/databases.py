"""Databases with the newest schema and no rows, each for one test: copied or emptied, not made anew."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelyard_server.db.engine import Database
from modelyard_server.db.tables import Base
from modelyard_server.domain import events
from tests.inprocess.registry import Registry
from tests.parts.postgres import new_database

if TYPE_CHECKING:
    pass

_EMPTY = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
    PERFORM setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S';
END $$
"""
_SCHEMA = """
SELECT md5(string_agg(name, ',' ORDER BY name)) FROM (
    SELECT conrelid || conname AS name FROM pg_constraint
    UNION ALL SELECT tgrelid || tgname FROM pg_trigger
    UNION ALL SELECT attrelid || relname || attname FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid
        WHERE relnamespace = 'public'::regnamespace
) AS parts
"""
"""A text that is another one once a table, column, constraint or trigger was made, renamed or dropped."""


@contextmanager
def sqlite_database(folder: Path) -> Iterator[Database]:
    """An empty SQLite database in a folder."""
    path = folder / "modelyard.db"
    shutil.copyfile(_sqlite_template(), path)
    with opened(f"sqlite:///{path}") as database:
        yield database


@functools.cache
def _sqlite_template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="modelyard-template-"))
    atexit.register(shutil.rmtree, folder)
    path = folder / "modelyard.db"
    with opened(f"sqlite:///{path}") as database:
        Base.metadata.create_all(database.engine)
    return path


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """The database of a URL as the server opens it."""
    database = Database(url, finish=events.flush)
    try:
        yield database
    finally:
        database.close()


class EmptyDatabases:
    """PostgreSQL databases that tests have one after the other; emptied between them."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._free: list[_Emptied] = []

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of an empty database."""
        emptied = self._free.pop() if self._free else _Emptied(new_database(self._cluster))
        try:
            yield emptied.url
        finally:
            if emptied.empty():
                self._free.append(emptied)

    def close(self) -> None:
        """Closes the connections; the databases go with their cluster."""
        for emptied in self._free:
            emptied.connection.close()


class _Emptied:
    """A database with the schema, and a connection that deletes what a test left."""

    def __init__(self, url: str) -> None:
        import psycopg

        self.url = url
        with opened(url) as database:
            Base.metadata.create_all(database.engine)
        self.connection = psycopg.connect(url, autocommit=True)
        # Rows are deleted in any order, without checks of foreign keys; locks are waited for at most 2 s.
        self.connection.execute("SET session_replication_role = replica; SET lock_timeout = '2s'")
        self._schema = self._read_schema()

    def empty(self) -> bool:
        """Deletes all rows. False when the database cannot be used again: its schema was changed."""
        import psycopg

        try:
            self.connection.execute(_EMPTY)
            if self._read_schema() == self._schema:
                return True
        except psycopg.Error:
            pass
        self.connection.close()
        return False

    def _read_schema(self) -> tuple[Any, ...] | None:
        return self.connection.execute(_SCHEMA).fetchone()


@pytest.fixture(scope="session")
def empty_databases(postgres_url: str) -> Iterator[EmptyDatabases]:
    """The PostgreSQL databases of the session."""
    databases = EmptyDatabases(postgres_url)
    yield databases
    databases.close()


@pytest.fixture
def postgresql_registry(empty_databases: EmptyDatabases) -> Iterator[Registry]:
    """An empty registry on PostgreSQL."""
    with empty_databases.one() as url, opened(url) as database:
        yield Registry(database)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        with sqlite_database(tmp_path) as made:
            yield made
    else:
        yield request.getfixturevalue("postgresql_registry").database


@pytest.fixture
def registry(database: Database) -> Registry:
    """An empty registry on each kind of database."""
    return Registry(database)
