"""Which versions the aliases of a collection pointed at, and who moved them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.rpc import messages
from modelyard.rpc.connection import Connection
from modelyard.rpc.list_calls import pages
from modelyard.v1 import alias_pb2

_PAGE_SIZE = 500


@dataclass(frozen=True)
class AliasChange:
    """One move of an alias; versions are `vN`, None where the alias was new or was removed.

    `sequence` is the number of the event in the project.
    """

    alias: str
    previous_version: str | None
    version: str | None
    principal: str
    create_time: datetime.datetime
    sequence: int


def changes(connection: Connection, collection_id: str, alias: str = "") -> Iterator[AliasChange]:
    """The moves of one alias or of all, newest first. Errors: NotFound."""
    request = alias_pb2.ListAliasChangesRequest(id=collection_id, alias=alias, page_size=_PAGE_SIZE)
    return _changes(connection, request)


def positions(
    connection: Connection, collection_id: str, time: datetime.datetime | str, alias: str = ""
) -> dict[str, str]:
    """The versions of aliases at a time: alias → `vN`. Errors: NotFound; ValueError for a bad time."""
    request = alias_pb2.ListAliasChangesRequest(id=collection_id, alias=alias, page_size=_PAGE_SIZE)
    request.at_time.FromDatetime(in_utc(time))
    return {change.alias: change.version for change in _changes(connection, request) if change.version}


def in_utc(time: datetime.datetime | str) -> datetime.datetime:
    """A time in UTC; without a zone it is local. ValueError for text that is not ISO 8601."""
    if isinstance(time, str):
        try:
            time = datetime.datetime.fromisoformat(time)
        except ValueError:
            raise ValueError(f"{time!r} is not a time: write it as 2026-01-31T12:00:00Z") from None
    return time.astimezone(datetime.UTC)


def _changes(connection: Connection, request: alias_pb2.ListAliasChangesRequest) -> Iterator[AliasChange]:
    for page in pages(connection.aliases.ListAliasChanges, request):
        for change in page.changes:
            yield AliasChange(
                change.alias,
                change.previous_version or None,
                change.version or None,
                change.principal,
                messages.time_of(change.create_time),
                change.sequence,
            )
