"""Databases with the schema of an earlier release."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Column, MetaData, Table, Text, insert, select, text

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


def downgrade(database: Database, revision: str) -> None:
    """Gives a database of today an earlier schema, with those columns of its rows that were there then.

    Tables with a column that is not there any more must be empty, but for those of `SINCE_REMOVED`.
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
            unset = dict.fromkeys(names & SINCE_NULLABLE.get(table.name, set()), 0)
            kept = [
                {
                    keys[name]: unset.get(name) if row[name] is None else row[name]
                    for name in row
                    if name in names
                }
                | removed
                for row in rows[table]
            ]
            if kept and names and table.name != "schema_info":  # which the schema came with
                connection.execute(insert(_with_texts(table, removed)), kept)


def _with_texts(table: Table, names: Iterable[str]) -> Table:
    """The table with more columns, of text."""
    wider = table.to_metadata(MetaData())
    for name in names:
        wider.append_column(Column(name, Text()))
    return wider
