"""Databases with the schema of an earlier release."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Column, MetaData, Table, Text, insert, select, text

from modelyard_server.db import migrations
from modelyard_server.db.engine import Database
from modelyard_server.db.tables import Base


def make(database: Database, revision: str) -> None:
    """Gives an empty database the schema of a revision."""
    from alembic import command
    from alembic.config import Config

    with database.engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


SINCE_REMOVED = {"version_file": {"sha256": ""}, "staged_entry": {"sha256": ""}}
"""What columns that tables do not have any more held in most rows."""

SINCE_NULLABLE = {"run": {"exit_code"}}
"""Columns that had 0 where they are unset now."""


MAPS_OF_RUNS = {"config": "config", "summary": "summary", "facts": "metadata"}
"""Columns that the run's row had, and the parts that they are in `run_map`."""


def downgrade(database: Database, revision: str) -> None:
    """Gives a database of today an earlier schema, with those columns of its rows that were there then.

    Tables with a column that is not there any more must be empty, but for those of
    `SINCE_REMOVED` and `MAPS_OF_RUNS`.
    """
    tables = Base.metadata.sorted_tables
    with database.engine.begin() as connection:
        rows = {table: [dict(row._mapping) for row in connection.execute(select(table))] for table in tables}
        Base.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    make(database, revision)
    with database.engine.begin() as connection:
        before = MetaData()
        before.reflect(connection)
        for table in tables:
            names = set(before.tables[table.name].columns.keys()) if table.name in before.tables else set()
            removed = {
                name: value for name, value in SINCE_REMOVED.get(table.name, {}).items() if name in names
            }
            keys = {each.name: each.key for each in table.columns}
            maps = _maps_of_runs(rows) if table.name == "run" and "facts" in names else {}
            unset = dict.fromkeys(names & SINCE_NULLABLE.get(table.name, set()), 0)
            kept = [
                {
                    keys[name]: unset.get(name) if row[name] is None else row[name]
                    for name in row
                    if name in names
                }
                | removed
                | maps.get(row.get("id"), {})
                for row in rows[table]
            ]
            if kept and names and table.name != "schema_info":  # which the schema came with
                earlier = _as_it_was(table, names, removed, MAPS_OF_RUNS if maps else ())
                connection.execute(insert(earlier), kept)


def _maps_of_runs(rows: Mapping[Table, list[dict[str, Any]]]) -> dict[Any, dict[str, Any]]:
    """The maps that each run's row had."""
    found: dict[Any, dict[str, Any]] = {}
    for table, own in rows.items():
        if table.name == "run":
            found = {row["id"]: {name: {} for name in MAPS_OF_RUNS} for row in own}
    for table, own in rows.items():
        for row in own if table.name == "run_map" else ():
            (column,) = (name for name, part in MAPS_OF_RUNS.items() if part == row["part"])
            found[row["run_id"]][column].update(row["entries"])
    return found


def _as_it_was(table: Table, names: Collection[str], texts: Iterable[str], documents: Iterable[str]) -> Table:
    """The table with the columns of these names, without their defaults, and more of text and of JSON."""
    known = [Column(each.name, each.type, key=each.key) for each in table.columns if each.name in names]
    more = [*(Column(name, Text()) for name in texts), *(Column(name, JSON()) for name in documents)]
    return Table(table.name, MetaData(), *known, *more)
