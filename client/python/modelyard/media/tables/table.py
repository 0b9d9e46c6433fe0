"""`Table`: rows with named columns, whose cells may be media."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from modelyard.contract import values
from modelyard.media import libraries
from modelyard.media.content import Content, Place
from modelyard.media.media import Media, Source
from modelyard.media.tables import file, kinds
from modelyard.media.tables.columns import Columns, Name

_DEFAULT_COLUMNS = ("Input", "Output", "Expected")
LOG_MODES = ("IMMUTABLE", "MUTABLE", "INCREMENTAL")


class Table(Media):
    """Rows with named columns. Cells are numbers, text, dates, lists, dicts, arrays and media.

    `data` is a list of rows, an array of two dimensions or a DataFrame; `rows` and
    `dataframe` are other names for it. The first cell of a column says which kind it holds, and a cell of
    another kind is a TypeError, unless `allow_mixed_types`; `dtype` names kinds, of all columns
    or in a list. `optional`: whether cells may be None. What a table holds when it is
    logged is kept; with `log_mode="INCREMENTAL"` only the rows since it was logged last.
    """

    type_name = "table"
    folder = "table"
    MAX_ROWS = 10_000
    """Accepted for scripts that set it: there is no limit."""
    MAX_ARTIFACT_ROWS = 200_000
    """As MAX_ROWS."""

    def __init__(
        self,
        columns: Sequence[Name] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: bool | Sequence[bool] = True,
        allow_mixed_types: bool = False,
        log_mode: str | None = "IMMUTABLE",
    ) -> None:
        if log_mode not in LOG_MODES:
            raise ValueError(f"Table: log_mode is one of {', '.join(LOG_MODES)}, not {log_mode!r}")
        if columns is not None and not isinstance(columns, list | tuple):
            raise TypeError(f"Table: columns is a list of names, not {type(columns).__name__}")
        self.log_mode = log_mode
        self.data: list[list[Any]] = []
        found, names = _rows(dataframe if dataframe is not None else data if data is not None else rows)
        chosen = columns or names or _DEFAULT_COLUMNS
        self._columns = Columns(chosen, dtype, optional, mixed=allow_mixed_types)
        self._increments: list[str] = []
        self._logged_rows = 0
        for row in found:
            self.add_data(*row)

    @property
    def columns(self) -> list[Name]:
        """Names of the columns."""
        return list(self._columns.names)

    def add_data(self, *data: Any) -> None:
        """Adds a row. ValueError for too few or many cells, TypeError for one of another kind."""
        self._columns.check(data, len(self.data))
        self.data.append(list(data))

    def add_row(self, *row: Any) -> None:
        """As `add_data`; a list is a row, too."""
        self.add_data(*(row[0] if len(row) == 1 and isinstance(row[0], list | tuple) else row))

    def add_column(self, name: Name, data: Sequence[Any], optional: bool = False) -> None:
        """Adds a column with a cell for each row. Errors: ValueError, TypeError."""
        cells = data.tolist() if hasattr(data, "tolist") else list(data)
        if self.data and len(cells) != len(self.data):
            raise ValueError(f"Table: the column {name!r} has {len(cells)} cells for {len(self.data)} rows")
        is_first = not self.data and not self._columns.names
        if not self.data and not is_first and cells:
            raise ValueError("Table: a column with cells is added to a table that has no rows")
        self._columns.add(name, cells, optional=optional)
        if is_first:
            self.data = [[] for _ in cells]
        for row, cell in zip(self.data, cells, strict=True):
            row.append(cell)

    def add_computed_columns(self, fn: Callable[[int, dict[Name, Any]], Mapping[Name, Any]]) -> None:
        """Adds the columns that `fn(index, row)` returns for each row, by name."""
        computed = [fn(index, dict(zip(self.columns, row, strict=True))) for index, row in self.iterrows()]
        for name in dict.fromkeys(name for row in computed for name in row):
            self.add_column(name, [row.get(name) for row in computed], optional=True)

    def get_column(self, name: Name, convert_to: str | None = None) -> Any:
        """The cells of a column as a list, or with `convert_to="numpy"` as an array. KeyError."""
        index = self._columns.index(name)
        cells = [row[index] for row in self.data]
        if convert_to is None:
            return cells
        if convert_to != "numpy":
            raise ValueError(f"Table: convert_to is 'numpy' or None, not {convert_to!r}")
        return libraries.load("numpy", "Table.get_column").array(cells)

    def get_index(self) -> list[int]:
        """The numbers of the rows, from 0."""
        return list(range(len(self.data)))

    def get_dataframe(self) -> Any:
        """The rows as a DataFrame. Error where pandas is missing."""
        pandas = libraries.load("pandas", "Table.get_dataframe")
        return pandas.DataFrame.from_records(self.data, columns=self.columns)

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """The rows with their numbers."""
        return iter(enumerate(self.data))

    def cast(self, col_name: Name, dtype: Any, optional: bool = False) -> None:
        """Says which kind a column holds. TypeError where it has cells of another one."""
        index = self._columns.index(col_name)
        self._columns.cast(index, dtype, [row[index] for row in self.data], optional=optional)

    def __len__(self) -> int:
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        return self.columns == other.columns and _equal(self.data, other.data)

    __hash__ = None  # type: ignore[assignment]  # rows may be added

    def __repr__(self) -> str:
        return f"<Table of {len(self.data)} rows: {', '.join(map(str, self.columns))}>"

    # As files.

    def store(self, place: Place) -> dict[str, Any]:
        """Puts the rows into a file, and returns the map that stands for it."""
        if self.log_mode == "INCREMENTAL":
            return self._store_increment(place)
        return {"_type": "table-file", **self._put(self.data, place), "nrows": len(self.data)} | self._facts()

    def _facts(self) -> dict[str, Any]:
        return {"ncols": len(self._columns.names), "log_mode": self.log_mode}

    def _store_increment(self, place: Place) -> dict[str, Any]:
        rows = self.data[self._logged_rows :]
        placed = self._put(rows, place)
        stored = {
            "_type": "incremental-table-file",
            **placed,
            "nrows": len(self.data),
            "increment_num": len(self._increments),
            "previous_increments_paths": list(self._increments),
        } | self._facts()
        self._logged_rows = len(self.data)
        self._increments.append(placed["path"])
        return stored

    def _put(self, rows: list[list[Any]], place: Place) -> dict[str, Any]:
        parts = file.parts(self.head(len(rows)), rows, place.cells)
        return place.put(Content(file.SUFFIX, parts), self.folder).facts()

    def head(self, rows: int) -> dict[str, Any]:
        """What a file of so many rows says in front of them."""
        return {
            "_type": self.type_name,
            "columns": self.columns,
            "column_types": self._columns.to_json(),
            "ncols": len(self._columns.names),
            "nrows": rows,
            "log_mode": self.log_mode,
        }

    @classmethod
    def load(cls, stored: Mapping[str, Any], source: Source) -> Table:
        """The table that a map stands for; of an incremental one the rows of all increments."""
        paths = [*stored.get("previous_increments_paths", ()), stored["path"]]
        documents = [file.read(source.fetch(path).read_bytes()) for path in paths]
        return cls.of_documents(documents, source)

    @classmethod
    def of_documents(cls, documents: Sequence[Mapping[str, Any]], source: Source) -> Table:
        """The table of the documents of its files."""
        last = documents[-1]
        source.prefetch(file.paths(documents))
        found = cls(columns=last["columns"], log_mode=last.get("log_mode", "IMMUTABLE"))
        found.data = [[_restored(cell, source) for cell in row] for each in documents for row in each["data"]]
        if "column_types" in last:
            found._columns.restore(kinds.from_json(last["column_types"]))
        return found


def _restored(cell: Any, source: Source) -> Any:
    """A cell of a file as a value."""
    if type(cell) is dict or type(cell) is list:
        return source.restored(values.from_json(cell))
    return cell


def _rows(given: Any) -> tuple[Sequence[Any], list[Name] | None]:
    """The rows of what users give, and the names of its columns if it has some."""
    if given is None:
        return [], None
    if libraries.is_from(given, "pandas", "DataFrame"):
        cells = [_cells(given.iloc[:, at]) for at in range(len(given.columns))]
        names = [name if isinstance(name, int | str) else str(name) for name in given.columns]
        return list(zip(*cells, strict=True)), names
    if libraries.is_from(given, "numpy", "ndarray"):
        if given.ndim != 2:
            raise ValueError(f"Table: data is an array of two dimensions, not of {given.ndim}")
        return given.tolist(), None
    if not isinstance(given, list | tuple):
        raise TypeError(f"Table: data is a list of rows, an array or a DataFrame, not {type(given).__name__}")
    return given, None


def _cells(series: Any) -> list[Any]:
    """The cells of a column of pandas; what it says is missing is None, except among floats of NumPy."""
    cells: list[Any] = series.tolist()
    if libraries.is_from(series.dtype, "numpy", "dtype") and series.dtype.kind in "biufc":
        return cells
    return [None if missing else cell for cell, missing in zip(cells, series.isna().tolist(), strict=True)]


def _equal(one: list[list[Any]], other: list[list[Any]]) -> bool:
    try:
        return one == other
    except ValueError:  # arrays have no truth
        return repr(one) == repr(other)
