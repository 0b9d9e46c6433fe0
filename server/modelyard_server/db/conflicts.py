"""Which database errors are conflicts between transactions, after which the transaction is retried."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, IntegrityError

_SQLSTATES = {
    "40001": "serialization failure",
    "40P01": "deadlock",
    "55P03": "lock not available",
    "23505": "unique violation: another made the same row; it is found the next time",
}
_FOREIGN_KEY = "23503"
RACING_KEYS = {
    "fk_pin_upload_id": "the upload ended while a chunk was pinned for it",
    "fk_pin_chunk_id": "a chunk was deleted while an upload pinned it",
    "fk_file_chunk_chunk_id": "a chunk was deleted while a file of it was stored",
    "fk_file_chunk_file_id": "a file was deleted while its chunks were stored",
    "fk_staged_entry_upload_id": "the upload ended while the entries of a commit were stored",
    "fk_staged_entry_file_id": "a file was deleted while an entry of a commit was stored",
    "fk_version_file_file_id": "a file was deleted while a version of it was committed",
    "fk_run_file_file_id": "a file was deleted while it was added to a run",
}
"""The foreign keys whose target rows may be deleted concurrently; rows of all others are kept."""
# SQLite has one writer, which sees every commit, so no foreign key can be violated by a race.
_SQLITE_NAMES = {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID"}


class ConstraintBroken(Exception):
    """A rule violated the schema: a defect. The message contains no user values."""

    @classmethod
    def by(cls, error: IntegrityError) -> ConstraintBroken:
        """Describes a database error without its own text, which may quote the row."""
        diagnosis = getattr(error.orig, "diag", None)
        if diagnosis is None:
            said = str(error.orig)  # SQLite's text names the columns only
        else:
            place = ".".join(filter(None, (diagnosis.table_name, diagnosis.column_name)))
            said = f"{type(error.orig).__name__} of {diagnosis.constraint_name or place} in {place}"
        return cls(f"{said}; the statement was: {(error.statement or '')[:500]}")


def is_conflict(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed if it is retried."""
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate == _FOREIGN_KEY:
        diagnosis = getattr(error.orig, "diag", None)
        return getattr(diagnosis, "constraint_name", None) in RACING_KEYS
    return sqlstate in _SQLSTATES or getattr(error.orig, "sqlite_errorname", "") in _SQLITE_NAMES


def conflict_name(error: DBAPIError) -> str:
    """The kind of the conflict and the constraint, for the log; without values."""
    constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    return f"{type(error.orig).__name__}{f' of {constraint}' if constraint else ''}"
