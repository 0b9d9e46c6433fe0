"""The database itself: SQLite's own check, and that every foreign key leads to a row."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKeyConstraint, Table, and_, exists, select, text

from modelyard_server.db.tables import Base
from modelyard_server.fsck.scan import Scan

PROBLEMS = 100
"""Problems that SQLite reports at most, and broken references that are named of each foreign key."""


def check(scan: Scan) -> None:
    """Checks the file of SQLite and all foreign keys."""
    if scan.session.get_bind().dialect.name == "sqlite":
        for (problem,) in scan.rows(text(f"PRAGMA integrity_check({PROBLEMS})")):
            if problem != "ok":
                scan.add("database_corrupt", f"SQLite: {problem}", {})
    for table in Base.metadata.sorted_tables:
        for key in sorted(table.foreign_key_constraints, key=lambda key: str(key.name)):
            scan.result.examined += 1
            _check_key(scan, table, key)


def _check_key(scan: Scan, table: Table, key: ForeignKeyConstraint) -> None:
    (element,) = key.elements
    column, target = element.parent, element.column
    other: Any = target.table.alias("target")
    broken = and_(column.is_not(None), ~exists().where(other.c[target.key] == column))
    own = list(table.primary_key)
    for row in scan.rows(select(column, *own).where(broken).limit(PROBLEMS)):
        about = {
            "table": table.name,
            **{part.name: _shown(value) for part, value in zip(own, row[1:], strict=True)},
        }
        what = f"{table.name}.{column.name} is {_shown(row[0])}, and there is no such {target.table.name}"
        scan.add("reference_broken", what, about)


def _shown(value: Any) -> str | int:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, int) else str(value)
