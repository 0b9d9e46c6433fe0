"""Frequent single-row statements, without the overhead of SQLAlchemy.

That costs ten times what the database does. A lookup is compiled once for each
kind of database, runs on the driver's own cursor, and converts what it finds
as SQLAlchemy would.
"""

from __future__ import annotations

import contextlib
from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Dialect, Engine, Select, Uuid
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine


class Lookup:
    """A SELECT of at most one row. Created once and reused."""

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self._statement = statement
        self._prepared: dict[str, _Prepared] = {}

    def first(self, session: Session, values: Mapping[str, Any]) -> Any:
        """Returns the row, with its columns as attributes, or None.

        Reads what is committed now, without beginning a transaction; in a session
        that has begun one, what that transaction sees.
        """
        engine = session.get_bind()
        if isinstance(engine, Engine) and not session.in_transaction():
            prepared = self._prepared.get(engine.name)
            if prepared is None:
                prepared = self._prepared[engine.name] = _Prepared(self._statement, engine.dialect)
            # If this fails, the slow path below fails too and raises the known error.
            with contextlib.suppress(prepared.failure):
                return prepared.run(engine, values)
        return session.connection().execute(self._statement, values).one_or_none()


class _Prepared:
    """A statement compiled for one kind of database."""

    def __init__(self, statement: Select[*tuple[Any, ...]], dialect: Dialect) -> None:
        self.failure: type[Exception] = dialect.loaded_dbapi.Error
        compiled = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._constants = dict(compiled.params)
        ways_in = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect)
            for name, bind in compiled.binds.items()
        }
        self._ways_in = {name: convert for name, convert in ways_in.items() if convert is not None}
        self._order = compiled.positiontup if compiled.positional else None
        columns = list(statement.selected_columns)
        self._row: Any = namedtuple("Row", [column.key for column in columns])  # type: ignore[misc]  # known when it runs
        conversions = [_conversion(column.type, dialect) for column in columns]
        self._conversions = [(at, convert) for at, convert in enumerate(conversions) if convert is not None]

    def run(self, engine: Engine, values: Mapping[str, Any]) -> Any:
        """The row, else None. Raises the driver's errors."""
        given: Any = {**self._constants, **values}
        for name, way_in in self._ways_in.items():
            given[name] = way_in(given[name])
        if self._order is not None:
            given = [given[name] for name in self._order]
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(self._sql, given)
            rows = cursor.fetchall()
            cursor.close()
        except self.failure:
            connection.invalidate()
            raise
        finally:
            connection.close()
        if not rows:
            return None
        found = list(rows[0])
        for at, convert in self._conversions:
            found[at] = convert(found[at])
        return self._row._make(found)


def _conversion(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """The conversion of a driver's value to Python; None if it needs none."""
    if isinstance(kind, Uuid) and not dialect.supports_native_uuid:
        return _dashed  # avoids an object for each id
    return kind.dialect_impl(dialect).result_processor(dialect, None)


def _dashed(digits: str | None) -> str | None:
    """An id of 32 hex digits with hyphens, as clients see it."""
    if digits is None:
        return None
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
