"""Building blocks of tables: keys, names of constraints, types of columns."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Integer, LargeBinary, MetaData, Uuid, text
from sqlalchemy.orm import DeclarativeBase

from modelyard.contract.values import identical

# SQLite autoincrements only columns declared as INTEGER.
BigKey = BigInteger().with_variant(Integer, "sqlite")
Id = Uuid(as_uuid=False)
LIVE: dict[str, Any] = dict.fromkeys(("sqlite_where", "postgresql_where"), text("deleted_at IS NULL"))
"""The condition of an index without deleted rows."""


def listed(table: str) -> list[Index]:
    """Pages in the order of time, of a project and of an entity."""
    return [
        Index(f"ix_{table}_{scope}_created", f"{scope}_id", "created_at", "id", **LIVE)
        for scope in ("project", "entity")
    ]


class ExactJson(JSON):
    """JSON whose changes are detected even if Python considers old and new equal, such as 1 and True."""

    def compare_values(self, x: Any, y: Any) -> bool:
        """Whether the values are equal, including their types."""
        return identical(x, y)


class Base(DeclarativeBase):
    """Base of all rows, with constraint names that migrations can refer to."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: ExactJson, list[str]: JSON, bytes: LargeBinary}  # noqa: RUF012 - read once by SQLAlchemy
