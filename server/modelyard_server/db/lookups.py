"""Statements of one row that services run all the time, without what SQLAlchemy does around each.

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
    """A SELECT that finds one row at most. Used again and again, so made once."""

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self._statement = statement
        self._prepared: dict[str, _Prepared] = {}

    def first(self, session: Session, values: Mapping[str, Any]) -> Any:
        """The row by the names of its columns, else None.

        What is committed now, seen without beginning a transaction; where the
        session has begun one, what that sees.
        """
        engine = session.get_bind()
        if isinstance(engine, Engine) and not session.in_transaction():
            prepared = self._prepared.get(engine.name)
            if prepared is None:
                prepared = self._prepared[engine.name] = _Prepared(self._statement, engine.dialect)
            # What fails here fails again below, where it becomes the error that callers know.
            with contextlib.suppress(prepared.failure):
                return prepared.run(engine, values)
        return session.connection().execute(self._statement, values).one_or_none()


class _Prepared:
    """A statement as one kind of database takes it."""

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
    """What makes the driver's value Python's; None where it is already."""
    if isinstance(kind, Uuid) and not dialect.supports_native_uuid:
        return _dashed  # SQLAlchemy would make an object of each id to get the same text
    return kind.dialect_impl(dialect).result_processor(dialect, None)


def _dashed(digits: str | None) -> str | None:
    """An id of 32 digits as clients see it."""
    if digits is None:
        return None
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
