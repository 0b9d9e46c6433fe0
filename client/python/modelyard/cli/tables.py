"""Prints lists of versions, links, collections and runs as tables or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from modelyard.artifacts.artifact import Artifact
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
    print_rest(len(found), limit, more)


def table(kind: str, items: Iterable[object], *, full: bool = False) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows of a table of items of one kind; `full` shows whole references of versions."""
    head, rows = _HEADS[kind], []
    for item in items:
        if isinstance(item, records.Collection):
            row = [item.ref, item.type, str(item.version_count), local_time(item.update_time)]
        elif isinstance(item, records.RunRecord):
            row = [item.path, item.display_name, item.state, local_time(item.create_time), _results(item)]
        elif isinstance(item, records.Link):
            head = ("VERSION", "ALIASES", "SOURCE VERSION", "LINKED")
            source = item.source.ref if item.source else HIDDEN
            row = [_named(item, full), ", ".join(item.aliases), source, local_time(item.create_time)]
        elif isinstance(item, records.Version):
            head = ("VERSION", "ALIASES", "METADATA", "SIZE", "LOGGED")
            aliases, size = ", ".join(item.aliases), human_bytes(item.size_bytes)
            row = [_named(item, full), aliases, _entries(item.metadata), size, local_time(item.create_time)]
        else:
            raise TypeError(f"no table of {type(item).__name__}")
        rows.append(row)
    return head, rows


def source_of(link: Artifact) -> str:
    """Reference of a link's source version; `(not visible)` if the key may not read it."""
    return link.source_qualified_name if link._logged("source").version else HIDDEN


_COLLECTION = ("TYPE", "VERSIONS", "CHANGED")
_HEADS: dict[str, tuple[str, ...]] = {
    "artifacts": ("ARTIFACT", *_COLLECTION),
    "registered_models": ("REGISTERED MODEL", *_COLLECTION),
    "runs": ("RUN", "NAME", "STATE", "STARTED", "SUMMARY"),
    "versions": ("VERSION", "ALIASES"),
    "links": ("VERSION", "ALIASES"),
}


def _named(item: records.Version | records.Link, full: bool) -> str:
    return item.ref if full else f"{item.name}:v{item.number}"


def _results(run: records.RunRecord) -> str:
    return _entries({key: value for key, value in run.summary.items() if not key.startswith("_")})


def _entries(entries: Mapping[str, Any]) -> str:
    return short_text(entries) if entries else ""
