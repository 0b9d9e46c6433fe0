"""The columns of a table: their names, and the kinds of their cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from modelyard.media.tables import kinds
from modelyard.media.tables.kinds import Kind

Name: TypeAlias = str | int


class Columns:
    """Names and kinds. A column without kind takes that of its first cell."""

    def __init__(
        self, names: Sequence[Name], dtype: Any, optional: bool | Sequence[bool], *, mixed: bool
    ) -> None:
        for name in names:
            if not isinstance(name, str | int):
                raise TypeError(f"Table: names of columns are text or whole numbers, not {name!r}")
        if len(set(names)) < len(names):
            raise ValueError(f"Table: the columns {list(names)} have one name twice")
        self.names = list(names)
        self._mixed = mixed
        given = list(dtype) if isinstance(dtype, list | tuple) else [dtype] * len(self.names)
        may_lack = [optional] * len(self.names) if isinstance(optional, bool) else list(optional)
        if len(given) != len(self.names) or len(may_lack) != len(self.names):
            raise ValueError(f"Table: dtype and optional have one item for each of {len(self.names)} columns")
        self._kinds = [self._first(*one) for one in zip(given, may_lack, strict=True)]
        self._simple: list[set[type]] = [set() for _ in self.names]
        """Classes of Python that a column takes without a further look."""

    def _first(self, dtype: Any, optional: bool) -> Kind:
        kind = kinds.ANY if self._mixed else kinds.UNKNOWN if dtype is None else kinds.named(dtype)
        return kinds.either(kinds.NONE, kind) if optional and kind != kinds.ANY else kind

    def index(self, name: Name) -> int:
        """The place of a column. KeyError."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(f"the table has no column {name!r}; it has {self.names}") from None

    def check(self, row: Sequence[Any], number: int) -> None:
        """Takes the cells of a row, all or none. Errors: ValueError, TypeError."""
        if len(row) != len(self.names):
            raise ValueError(
                f"Table: {len(self.names)} columns ({', '.join(map(str, self.names))}) need as many cells, "
                f"not {len(row)}"
            )
        changed: dict[int, Kind] = {}
        for at, cell in enumerate(row):
            if type(cell) in self._simple[at]:
                continue
            kind = self._after(at, cell, number)
            if kind is not self._kinds[at]:
                changed[at] = kind
            elif kinds.is_of_class(type(cell)):
                self._simple[at].add(type(cell))
        for at, kind in changed.items():
            self._set(at, kind)

    def _after(self, at: int, cell: Any, number: int) -> Kind:
        column, kind = self._kinds[at], kinds.of(cell)
        found = kinds.holds(column, kind)
        if found is None:
            raise TypeError(
                f"Table: the column {self.names[at]!r} holds {column}, and row {number} has {kind} "
                f"({str(cell)[:50]!r}); allow_mixed_types=True permits it"
            )
        return found

    def _set(self, at: int, kind: Kind) -> None:
        self._kinds[at] = kind
        self._simple[at] = set()

    def add(self, name: Name, cells: Sequence[Any], *, optional: bool) -> None:
        """Adds a column with these cells. Errors: ValueError, TypeError, and then nothing is added."""
        other = Columns([name], None, optional or any(cell is None for cell in cells), mixed=self._mixed)
        if name in self.names:
            raise ValueError(f"Table: there is a column {name!r} already")
        for number, cell in enumerate(cells):
            other.check([cell], number)
        self.names.append(name)
        self._kinds.append(other._kinds[0])
        self._simple.append(set())

    def cast(self, at: int, dtype: Any, cells: Sequence[Any], *, optional: bool) -> None:
        """Gives a column a kind. TypeError where a cell has another one."""
        other = Columns([self.names[at]], [dtype], optional, mixed=False)
        for number, cell in enumerate(cells):
            other.check([cell], number)
        self._set(at, other._kinds[0])

    def to_json(self) -> dict[str, Any]:
        """The kinds as files have them."""
        by_name = {str(name): kind for name, kind in zip(self.names, self._kinds, strict=True)}
        return kinds.to_json(Kind("typedDict", by_name))

    def restore(self, stored: Kind) -> None:
        """Takes the kinds of a file."""
        for at, name in enumerate(self.names):
            self._set(at, stored.fields.get(str(name), kinds.ANY))
