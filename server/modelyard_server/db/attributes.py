"""The index of user values: one row for each scalar in metadata, config and summary, and for each tag.

Filters and orders over those would read every JSON column without it. A number
is kept as a double and a text by its beginning; where these are equal, the value in
the JSON column is compared. Every session keeps the index true to the rows it writes, in their own
transaction; other statements do not pass here, and call `add` and `remove`. The
maps of runs are rows of their own, whose writer calls `replace` and `merge`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    Connection,
    Double,
    Index,
    Integer,
    String,
    bindparam,
    delete,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from modelyard_server.db import bounded
from modelyard_server.db.declarative import Base, Id
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Link, Project, Run
from modelyard_server.db.upserts import batches

LEAF_LIMIT = 1000
"""Scalars of one map that are indexed. A map with more has a single row that marks it as not indexed."""
TEXT_LIMIT = 256
"""Characters of a text that are kept."""
KEY_LIMIT = 256
"""Characters of a key with its prefix; values under longer keys are not indexed."""

METADATA, TAGS = "metadata", "tags"
RUN_CONFIG, RUN_SUMMARY, RUN_TAGS = "run.config", "run.summary", "run.tags"
COLLECTION_TAGS = "collection.tags"

Rows: TypeAlias = dict[tuple[str, int], tuple[float | None, str | None]]
"""(key, item) → (number, text), of which one is None."""

_HAS_NUMBER, _HAS_TEXT = text("number IS NOT NULL"), text("text IS NOT NULL")


class Attribute(Base):
    """A scalar of a version, a run or a collection; `item` counts the tags.

    Booleans are 1 and 0 under a key of their own, see `bool_key_of`.
    """

    __tablename__ = "attribute"
    __table_args__ = (
        *(
            Index(
                f"ix_attribute_{scope}_{value}",
                f"{scope}_id",
                "key",
                value,
                "subject_id",
                sqlite_where=where,
                postgresql_where=where,
            )
            for scope in ("project", "entity")
            for value, where in (("number", _HAS_NUMBER), ("text", _HAS_TEXT))
        ),
        {"sqlite_with_rowid": False},
    )
    subject_id: Mapped[str] = mapped_column(Id, primary_key=True)
    key: Mapped[str] = mapped_column(String(KEY_LIMIT), primary_key=True)
    item: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    # No foreign key: each insert would lock the project's row, and transactions of a project would contend.
    entity_id: Mapped[int] = mapped_column(BigInteger)
    project_id: Mapped[int] = mapped_column(BigInteger)
    number: Mapped[float | None] = mapped_column(Double)
    # The same order on every database: that of the code points.
    text: Mapped[str | None] = mapped_column(
        String(TEXT_LIMIT, collation="C").with_variant(String(TEXT_LIMIT), "sqlite")
    )


_INDEXED: Mapping[type[Base], Mapping[str, str]] = {
    ArtifactVersion: {"metadata_": METADATA, "tags": TAGS},
    Run: {"tags": RUN_TAGS},
    Collection: {"tags": COLLECTION_TAGS},
}
_PENDING = "pending attributes"
_FIRST_PART = re.compile(r"(?:[^.\\]|\\[.\\])*")
"""The first part of an escaped path, without the mark of a boolean."""


def key_of(prefix: str, path: Sequence[str]) -> str:
    """The key of the value at a path."""
    return ".".join([prefix, *map(_escaped, path)])


def _escaped(part: str) -> str:
    if "." not in part and "\\" not in part:
        return part
    return part.replace("\\", r"\\").replace(".", r"\.")


def bool_key_of(key: str) -> str:
    """The key of a boolean, which no path produces, so that booleans are not compared as numbers."""
    return rf"{key}\b"


def rows_of(prefix: str, value: Any) -> Rows:
    """The rows of a column: a map in its JSON form, or a list of tags."""
    if isinstance(value, list):
        return {(prefix, index): (None, tag[:TEXT_LIMIT]) for index, tag in enumerate(value)}
    indexed = (leaf for leaf in _leaves(prefix, value) if len(leaf[0]) <= KEY_LIMIT)
    leaves = list(islice(indexed, LEAF_LIMIT + 1))
    if len(leaves) > LEAF_LIMIT:
        return {(prefix, 0): (None, "")}
    return {
        (key, 0): (None, leaf[:TEXT_LIMIT]) if isinstance(leaf, str) else (float(leaf), None)
        for key, leaf in leaves
    }


def count(row: Base) -> int:
    """How many entries a row has."""
    return sum(len(rows_of(prefix, getattr(row, column))) for column, prefix in _INDEXED[type(row)].items())


def prepare(session: Session, *_: object) -> None:
    """Before a flush: sets the owners of new rows, and records what changes in the index."""
    for row in session.new:
        if isinstance(row, ArtifactVersion | Link | Alias) and row.project_id is None:
            row.entity_id, row.project_id = _owners(session, row)
    pending = session.info.setdefault(_PENDING, [])
    for row in (*session.new, *session.dirty):
        for column, prefix in _INDEXED.get(type(row), {}).items():
            history = inspect(row).attrs[column].history
            if history.has_changes():
                before: Rows | None = {} if row in session.new else None
                if history.deleted:
                    before = rows_of(prefix, history.deleted[0])
                pending.append((row, prefix, before, rows_of(prefix, getattr(row, column))))


def store(session: Session, *_: object) -> None:
    """After a flush: writes the recorded changes. Runs every few milliseconds while a run logs."""
    for row, prefix, known, after in session.info.pop(_PENDING, ()):
        replace(session, row, prefix, known, after)


def replace(session: Session, row: Any, prefix: str, known: Rows | None, after: Rows) -> None:
    """Changes the entries of a column to `after`. `known` is what they are; None if that has to be read."""
    before = _stored(session, row.id, prefix) if known is None else known
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    _remove(session, row, before.keys() - after.keys())
    _change(session, row, {key: changed[key] for key in changed.keys() & before.keys()}, before)
    _add(session, row, {key: changed[key] for key in changed.keys() - before.keys()})


def merge(session: Session, row: Any, prefix: str, entries: Mapping[str, Any]) -> None:
    """Changes the entries of a map for these keys of it; the others stay."""
    mark = select(Attribute.key).where(
        Attribute.subject_id == row.id, Attribute.key == prefix, Attribute.item == 0
    )
    if session.scalar(mark) is not None:
        return  # too many to be indexed
    stored = _stored(session, row.id, prefix)
    names = {key_of("", [name])[1:] for name in entries}
    begin = len(prefix) + 1
    before = {at: kept for at, kept in stored.items() if _first_part(at[0], begin) in names}
    after = rows_of(prefix, entries)
    if (prefix, 0) in after or len(stored) - len(before) + len(after) > LEAF_LIMIT:
        before, after = stored, {(prefix, 0): (None, "")}
    replace(session, row, prefix, before, after)


def add(session: Session, row: Base) -> None:
    """Adds the entries of a row that a plain statement inserted, which does not pass a flush."""
    for column, prefix in _INDEXED[type(row)].items():
        _add(session, row, rows_of(prefix, getattr(row, column)))


def remove(session: Session, subject_ids: Sequence[str]) -> None:
    """Removes the entries of rows that a bulk statement deletes."""
    for batch in batches(subject_ids):
        session.execute(delete(Attribute).where(Attribute.subject_id.in_(batch)))


def remove_some(session: Session, subject_id: str, limit: int) -> int:
    """Removes at most `limit` entries of a row, and returns their number."""
    return bounded.delete_some(session, Attribute, Attribute.subject_id == subject_id, limit=limit)


def _first_part(key: str, begin: int) -> str:
    found = _FIRST_PART.match(key, begin)
    return found[0] if found else ""


def _leaves(key: str, value: Mapping[str, Any]) -> Iterator[tuple[str, str | float]]:
    for name, item in value.items():
        inner = f"{key}.{_escaped(name)}"
        if type(item) is float:  # what most values are
            yield inner, item
        elif isinstance(item, Mapping):
            yield from _leaves(inner, item)
        elif isinstance(item, str | int | float):
            yield bool_key_of(inner) if isinstance(item, bool) else inner, item


def _add(session: Session, row: Any, rows: Rows) -> None:
    if rows:
        entity_id, project_id = _owners(session, row)
        owned = {"subject_id": row.id, "entity_id": entity_id, "project_id": project_id}
        session.connection().execute(
            _ADD[session.get_bind().dialect.name],
            [
                {**owned, "key": key, "item": item, "number": number, "text": text_}
                for (key, item), (number, text_) in sorted(rows.items())
            ],
        )


def _remove(session: Session, row: Any, entries: Iterable[tuple[str, int]]) -> None:
    own = [{"of": row.id, "named": key, "at": item} for key, item in sorted(entries)]
    if own:
        session.connection().execute(_REMOVE, own)


def _change(session: Session, row: Any, rows: Rows, before: Rows) -> None:
    if session.get_bind().dialect.name == "sqlite":
        _change_each(session.connection(), row, rows, before)
    elif rows:
        keys = sorted(rows)
        session.connection().execute(
            _CHANGE_AT_ONCE,
            {
                "of": row.id,
                "keys": [key for key, _ in keys],
                "items": [item for _, item in keys],
                "numbers": [rows[key][0] for key in keys],
                "texts": [rows[key][1] for key in keys],
            },
        )


def _change_each(connection: Connection, row: Any, rows: Rows, before: Rows) -> None:
    """Changes entries one by one.

    The statements go to the driver directly: SQLAlchemy would double the time, and there may be a thousand.
    """
    processed = Id.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    own = processed(row.id) if processed else row.id
    numbers, others = [], []
    for (key, item), (number, text_) in sorted(rows.items()):
        if text_ is None and before[key, item][1] is None:
            numbers.append((number, own, key, item))
        else:
            others.append((number, text_, own, key, item))
    # A statement that sets no text spares SQLite the index over texts.
    for statement, parameters in ((_CHANGE_NUMBER, numbers), (_CHANGE, others)):
        if parameters:
            connection.exec_driver_sql(statement, parameters)


def _stored(session: Session, subject_id: str, prefix: str) -> Rows:
    """The index rows of a column whose old value the session has not read."""
    found = session.execute(
        select(Attribute.key, Attribute.item, Attribute.number, Attribute.text).where(
            Attribute.subject_id == subject_id,
            (Attribute.key == prefix) | Attribute.key.startswith(f"{prefix}.", autoescape=True),
        )
    )
    return {(key, item): (number, text_) for key, item, number, text_ in found}


def _owners(session: Session, row: Any) -> tuple[int, int]:
    """Entity and project of a row; mostly loaded in the session already."""
    if isinstance(row, ArtifactVersion | Link | Alias) and row.project_id is None:
        collection = session.get(Collection, row.collection_id) or next(
            new for new in session.new if isinstance(new, Collection) and new.id == row.collection_id
        )
        return _owners(session, collection)
    if isinstance(row, ArtifactVersion | Run):
        return row.entity_id, row.project_id
    return session.get_one(Project, row.project_id).entity_id, row.project_id


# Built once: making a statement takes longer than running it.
_TABLE: Any = Attribute.__table__
_KEY = ("subject_id", "key", "item")
_REMOVE = delete(_TABLE).where(
    *(_TABLE.c[column] == bindparam(name) for column, name in zip(_KEY, ("of", "named", "at"), strict=True))
)
_CHANGE = "UPDATE attribute SET number = ?, text = ? WHERE subject_id = ? AND key = ? AND item = ?"
_CHANGE_NUMBER = "UPDATE attribute SET number = ? WHERE subject_id = ? AND key = ? AND item = ?"

# Takes half the time of two statements on a remote database.
_CHANGE_AT_ONCE = text("""
    UPDATE attribute SET number = new.number, text = new.text
    FROM unnest(
        CAST(:keys AS text[]), CAST(:items AS int[]), CAST(:numbers AS float8[]), CAST(:texts AS text[])
    ) AS new(key, item, number, text)
    WHERE attribute.subject_id = CAST(:of AS uuid) AND attribute.key = new.key AND attribute.item = new.item
""")


def _adding(dialect: Any) -> Any:
    """An upsert, in case an index row exists although it should not."""
    statement = dialect.insert(_TABLE)
    new = {"number": statement.excluded.number, "text": statement.excluded.text}
    return statement.on_conflict_do_update(index_elements=_KEY, set_=new)


_ADD = {"sqlite": _adding(sqlite), "postgresql": _adding(postgresql)}
