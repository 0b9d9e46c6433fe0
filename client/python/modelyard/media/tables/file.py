"""The files of tables: JSON, written and read part by part."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from modelyard.contract import values
from modelyard.conversion.arrays import shape_of
from modelyard.conversion.plain_values import plain
from modelyard.media import libraries
from modelyard.media.content import Place
from modelyard.media.media import Media

ROWS_AT_ONCE = 1_000
SUFFIX = ".table.json"


def parts(head: Mapping[str, Any], rows: Sequence[Sequence[Any]], place: Place) -> Iterator[bytes]:
    """The bytes of a table's file: `head` and then `data`, the rows. Media of cells are put into the place.

    NaN and infinities are `{"$": "nan"}` and the like; see `contract.values`.
    """
    cells = _Cells(place)
    yield (json.dumps(head, separators=(",", ":"))[:-1] + ',"data":[').encode()
    for start in range(0, len(rows), ROWS_AT_ONCE):
        text = cells.encode(rows[start : start + ROWS_AT_ONCE])
        yield ("," + text if start else text).encode()
    yield b"]}"


class _Cells:
    """Encodes cells."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def encode(self, rows: Sequence[Sequence[Any]]) -> str:
        """Some rows, without the brackets around all."""
        try:
            # Most rows are plain; then this is fast.
            text = json.dumps(rows, separators=(",", ":"), allow_nan=False, default=self._foreign)[1:-1]
        except ValueError:  # a number that JSON does not have
            text = ""
        if not text or '"$"' in text:  # perhaps a key that stands for such numbers
            lossless = [[self._lossless(cell) for cell in row] for row in rows]
            text = json.dumps(lossless, separators=(",", ":"))[1:-1]
        return text

    def _lossless(self, cell: Any) -> Any:
        if isinstance(cell, float):
            return values.to_json(float(cell))
        if isinstance(cell, Mapping):
            found = {str(key): self._lossless(item) for key, item in cell.items()}
            return {"$": [found]} if "$" in found else found
        if isinstance(cell, list | tuple):
            return [self._lossless(item) for item in cell]
        known = cell is None or isinstance(cell, bool | int | str)
        return cell if known else self._lossless(self._foreign(cell))

    def _foreign(self, cell: Any) -> Any:
        """What stands for a cell that is neither number nor text, list or dict."""
        if isinstance(cell, Media):
            return cell.store(self._place)
        if isinstance(cell, datetime.datetime | datetime.date):
            return cell.isoformat()
        if isinstance(cell, set | frozenset):
            return list(cell)
        if shape_of(cell) and callable(getattr(cell, "tolist", None)):
            return libraries.on_host(cell).tolist()
        return plain(cell, "a cell of a table")


def read(data: bytes) -> dict[str, Any]:
    """The document of a table's file. ValueError for other bytes."""
    document = json.loads(data)
    if not isinstance(document, dict) or not {"columns", "data"} <= document.keys():
        raise ValueError("the file is no table: it lacks columns and data")
    return document


def paths(documents: Iterable[Mapping[str, Any]]) -> set[str]:
    """The paths of files that cells of tables stand for."""
    found: set[str] = set()
    for document in documents:
        for row in document["data"]:
            for cell in row:
                if type(cell) is dict or type(cell) is list:
                    _add_paths(cell, found)
    return found


def _add_paths(value: Any, found: set[str]) -> None:
    if isinstance(value, dict):
        path = value.get("path")
        if isinstance(path, str) and path.startswith("media/"):
            found.add(path)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            if type(item) is dict or type(item) is list:
                _add_paths(item, found)
