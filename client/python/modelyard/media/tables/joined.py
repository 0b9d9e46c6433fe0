"""`JoinedTable`: two tables that share a column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modelyard.media.content import Place
from modelyard.media.media import Media, Source
from modelyard.media.tables import partitioned
from modelyard.media.tables.partitioned import PartitionedTable
from modelyard.media.tables.table import Table

_Side = Table | PartitionedTable | str


class JoinedTable(Media):
    """Two tables to be shown side by side, row by row of equal `join_key`: the name of a column of both.

    A table is a Table, or in an artifact a PartitionedTable or the path of a table there.
    Errors: TypeError, KeyError.
    """

    type_name = "joined-table"

    def __init__(self, table1: _Side, table2: _Side, join_key: str) -> None:
        if not isinstance(join_key, str):
            raise TypeError(f"JoinedTable: join_key is the name of a column, not {join_key!r}")
        for table in (table1, table2):
            if isinstance(table, Table):
                table.get_column(join_key)
            elif not isinstance(table, str | PartitionedTable):
                raise TypeError(
                    f"JoinedTable takes tables, or paths of an artifact, not {type(table).__name__}"
                )
        self.tables = (table1, table2)
        self.join_key = join_key

    def store(self, place: Place) -> dict[str, Any]:
        """Puts both tables into files, and returns the map that stands for them."""
        stored: dict[str, Any] = {"_type": self.type_name, "join_key": self.join_key}
        for name, table in zip(("table1", "table2"), self.tables, strict=True):
            stored[name] = table if isinstance(table, str) else table.store(place)
        return stored

    @classmethod
    def load(cls, stored: Mapping[str, Any], source: Source) -> JoinedTable:
        """The tables that were stored."""
        one, other = (_table(stored[name], source) for name in ("table1", "table2"))
        return cls(one, other, stored["join_key"])

    def rows(self) -> list[dict[str, Any]]:
        """The rows of both with equal keys, as dicts; a name that both have is the second's."""
        one, other = map(_whole, self.tables)
        by_key: dict[Any, list[list[Any]]] = {}
        for key, row in zip(other.get_column(self.join_key), other.data, strict=True):
            by_key.setdefault(key, []).append(row)
        return [
            dict(zip(map(str, [*one.columns, *other.columns]), [*row, *match], strict=True))
            for key, row in zip(one.get_column(self.join_key), one.data, strict=True)
            for match in by_key.get(key, ())
        ]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JoinedTable):
            return NotImplemented
        return self.tables == other.tables and self.join_key == other.join_key

    __hash__ = None  # type: ignore[assignment]  # rows may be added to its tables


def _whole(side: _Side) -> Table:
    if isinstance(side, str):
        raise TypeError("JoinedTable.rows: the tables are paths; read it from its artifact")
    return side if isinstance(side, Table) else side.table()


def _table(stored: Any, source: Source) -> Table | PartitionedTable:
    if not isinstance(stored, str):
        return Table.load(stored, source)
    if stored.endswith(f".{PartitionedTable.type_name}.json"):
        return PartitionedTable.load(json.loads(source.fetch(stored).read_bytes()), source)
    return partitioned.read(stored, source)
