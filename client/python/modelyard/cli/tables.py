"""Prints lists of versions, links, collections and runs as tables or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from modelyard.cli.output import HIDDEN, local_time, print_json, print_rest, print_table
from modelyard.contract import errors
from modelyard.contract.streams import echo
from modelyard.host.terminal import human_bytes
from modelyard.rpc import records
from modelyard.runs.report import short_text

T = TypeVar("T")
Record = records.Version | records.Link | records.Collection | records.RunRecord


def some(items: Iterator[T], limit: int) -> tuple[list[T], bool]:
    """At most `limit` items, and whether there are more."""
    found = list(islice(items, limit + 1))
    return found[:limit], len(found) > limit


def print_records(kind: str, items: Iterator[Record], limit: int, json: bool, *, full: bool = False) -> None:
    """Prints a list as a table or as JSON; `full` shows whole references."""
    why = ""
    try:
        found, more = some(items, limit)
    except errors.NotFound as error:  # the project does not exist
        found, more, why = [], False, error.metadata.get("why", "")
    if json:
        print_json({kind: [records.as_json(item) for item in found], "more": more})
        return
    if not found:
        echo(f"Nothing found: {why}" if why else "Nothing found.", err=True)
        return
    print_table(*table(kind, found, full=full))
    print_rest(limit, more)


def table(kind: str, items: Iterable[Record], *, full: bool = False) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows of a table of items of one kind; `full` shows whole references of versions."""
    columns = _COLUMNS[kind]
    cells = [_ref if full and cell is _short_ref else cell for _, cell in columns]
    return [head for head, _ in columns], [[cell(item) for cell in cells] for item in items]


def _ref(item: Any) -> str:
    return str(item.ref)


def _short_ref(item: Any) -> str:
    return f"{item.name}:v{item.number}"


def _aliases(item: Any) -> str:
    return ", ".join(item.aliases)


def _made(item: Any) -> str:
    return local_time(item.create_time)


def _source(link: records.Link) -> str:
    return link.source.ref if link.source else HIDDEN


def _results(run: records.RunRecord) -> str:
    return _entries({key: value for key, value in run.summary.items() if not key.startswith("_")})


def _entries(entries: Mapping[str, Any]) -> str:
    return short_text(entries) if entries else ""


_Columns = Sequence[tuple[str, Callable[[Any], str]]]

_OF_COLLECTION: _Columns = (
    ("TYPE", lambda item: str(item.type)),
    ("VERSIONS", lambda item: str(item.version_count)),
    ("CHANGED", lambda item: local_time(item.update_time)),
)
_COLUMNS: Mapping[str, _Columns] = {
    "artifacts": (("ARTIFACT", _ref), *_OF_COLLECTION),
    "registered_models": (("REGISTERED MODEL", _ref), *_OF_COLLECTION),
    "versions": (
        ("VERSION", _short_ref),
        ("ALIASES", _aliases),
        ("METADATA", lambda item: _entries(item.metadata)),
        ("SIZE", lambda item: human_bytes(item.size_bytes)),
        ("LOGGED", _made),
    ),
    "links": (
        ("VERSION", _short_ref),
        ("ALIASES", _aliases),
        ("SOURCE VERSION", _source),
        ("LINKED", _made),
    ),
    "runs": (
        ("RUN", lambda item: str(item.path)),
        ("NAME", lambda item: str(item.display_name)),
        ("STATE", lambda item: str(item.state)),
        ("STARTED", _made),
        ("SUMMARY", _results),
    ),
}
"""Head and cell of each column, by kind."""
