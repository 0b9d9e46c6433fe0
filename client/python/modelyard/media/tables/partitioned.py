"""`PartitionedTable`: the tables in one folder of an artifact, as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from modelyard.media.content import Place
from modelyard.media.media import Media, Source
from modelyard.media.tables import file
from modelyard.media.tables.columns import Name
from modelyard.media.tables.table import Table


class PartitionedTable(Media):
    """The rows of all tables below a folder of an artifact, in the order of their paths.

    Several jobs may so write the parts of one table. They have the same columns. What is
    added to an artifact is the path of the folder; the rows are there when it is read
    from its artifact, and the parts are read one after the other.
    """

    type_name = "partitioned-table"

    def __init__(self, parts_path: str) -> None:
        if not isinstance(parts_path, str) or not parts_path.strip("/"):
            raise ValueError(
                f"PartitionedTable takes the path of a folder in an artifact, not {parts_path!r}"
            )
        self.parts_path = parts_path.rstrip("/")
        self._source: Source | None = None
        self._paths: Sequence[str] = ()

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """The rows with their numbers, from 0. ValueError for a part with other columns."""
        columns: list[Name] | None = None
        number = 0
        for path, part in self._parts():
            if columns not in (None, part.columns):
                raise ValueError(f"PartitionedTable: {path} has the columns {part.columns}, others {columns}")
            columns = part.columns
            for row in part.data:
                yield number, row
                number += 1

    def table(self) -> Table:
        """All rows as one table. Errors: as `iterrows`."""
        columns = next((part.columns for _, part in self._parts()), None)
        return Table(columns=columns, data=[row for _, row in self.iterrows()], allow_mixed_types=True)

    def _parts(self) -> Iterator[tuple[str, Table]]:
        if self._source is None:
            raise TypeError("PartitionedTable: its rows are in an artifact; read it from there")
        for path in self._paths:
            yield path, read(path, self._source)

    def stored(self) -> dict[str, Any]:
        """The map that stands for it in an artifact."""
        return {"_type": self.type_name, "parts_path": self.parts_path}

    def store(self, place: Place) -> NoReturn:
        """TypeError: its parts are in an artifact."""
        raise TypeError("a PartitionedTable belongs into an artifact: artifact.add(table, name)")

    @classmethod
    def load(cls, stored: Mapping[str, Any], source: Source) -> PartitionedTable:
        """The table whose parts an artifact has."""
        found = cls(stored["parts_path"])
        found._source = source
        below = source.paths(f"{found.parts_path}/")
        found._paths = sorted(path for path in below if path.endswith(file.SUFFIX))
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PartitionedTable):
            return NotImplemented
        return self.parts_path == other.parts_path

    def __hash__(self) -> int:
        return hash(self.parts_path)

    def __repr__(self) -> str:
        return f"<PartitionedTable of {self.parts_path!r}>"


def read(path: str, source: Source) -> Table:
    """The table of a file."""
    return Table.of_documents([file.read(source.fetch(path).read_bytes())], source)
