"""The revisions of the schema, and upgrading a database to the newest.

A start costs one SELECT when the schema is current; Alembic is imported only
when it is not. Replicas that start at once migrate once: the others wait.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from modelyard_server.db.connecting import error_at_start
from modelyard_server.db.engine import Database
from modelyard_server.release import VERSION, as_numbers

log = logging.getLogger(__name__)

REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
    "0014",
    "0015",
    "0016",
    "0017",
    "0018",
    "0019",
)
"""Every revision, oldest first; the last is the one that the tables in the code describe."""
HEAD = REVISIONS[-1]

_ADVISORY_LOCK = 0x6D6F64656C796172  # "modelyar"


class SchemaTooNew(Exception):
    """The database was migrated by a newer release that this one is not compatible with."""


def current(database: Database) -> str | None:
    """The database's revision; None for an empty one. Errors: see `error_at_start`."""
    try:
        with database.engine.begin() as connection:
            return _revision(connection)
    except DBAPIError as error:
        raise error_at_start(error, database.url) from error


def is_behind(database: Database) -> bool:
    """Whether there is something to migrate. Raises DatabaseUnavailable."""
    found = current(database)
    return found is None or found in REVISIONS[:-1]


def upgrade(database: Database) -> bool:
    """Brings the schema to `HEAD`; whether there was anything to do.

    Raises SchemaTooNew, DatabaseUnavailable.
    """
    if not is_behind(database):
        _check_supported(database)
        return False
    try:
        with database.engine.begin() as connection:
            if not database.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            found = _revision(connection)  # another replica may have been first
            if found != HEAD:
                log.info("the schema goes from %s to %s", found or "nothing", HEAD)
                _run(connection)
    except DBAPIError as error:
        raise error_at_start(error, database.url) from error
    return True


def _revision(connection: Connection) -> str | None:
    has_table = connection.dialect.has_table(connection, "alembic_version")
    if not has_table:
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _check_supported(database: Database) -> None:
    found = current(database)
    if found == HEAD:
        return
    with database.engine.begin() as connection:
        oldest = connection.execute(text("SELECT oldest_server FROM schema_info")).scalar_one()
    if as_numbers(VERSION) < as_numbers(oldest):
        raise SchemaTooNew(
            f"the database has the schema {found}, which needs modelyard {oldest} or newer; this is {VERSION}"
        )


def _run(connection: Connection) -> None:
    from alembic import command  # only when there is something to migrate: start-up time counts
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
