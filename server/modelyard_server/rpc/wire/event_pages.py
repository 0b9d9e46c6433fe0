"""Pages of events, read from the table and encoded as messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from modelyard.v1 import event_pb2 as pb
from modelyard.v1 import run_pb2
from modelyard_server.db.tables import Event
from modelyard_server.domain import events
from modelyard_server.domain.event_heads import Head
from modelyard_server.rpc.wire import convert

PAGE = 200
"""Most events of one reply of a watch."""
SPAN = 10_000
"""Most events that one read scans, however few match the filter."""


class Source(NamedTuple):
    """What is watched: a project as its events name it, a filter, and by whom.

    `reach` is the entities that the watcher may read in; None for all.
    """

    project: Head
    entity: str
    filter: str
    reach: frozenset[str] | None

    @property
    def key(self) -> tuple[int, str, frozenset[str] | None]:
        """A key that is equal for watches that see the same events."""
        return self.project.id, self.filter, self.reach


class Encoded(NamedTuple):
    """An event, encoded as a WatchEventsResponse. Several of them, concatenated, are one message."""

    sequence: int
    message: bytes


class Page(NamedTuple):
    """Events in order, the last sequence number scanned, and whether there may be more."""

    events: Sequence[Encoded]
    position: int
    more: bool

    def message(self) -> bytes:
        """The page as an encoded WatchEventsResponse."""
        last = pb.WatchEventsResponse(last_sequence=self.position).SerializeToString()
        return b"".join((*(event.message for event in self.events), last))


def read(session: Session, source: Source, after: int) -> Page:
    """Reads the page after a sequence number. Raises InvalidFilter."""
    found = events.after(session, source.project.id, after, PAGE, source.filter, span=SPAN)
    shown = [Encoded(event.seq, _encoded(event, source)) for event in found.events]
    return Page(shown, found.position, found.more)


def message(event: Event, entity: str, project: str, reach: frozenset[str] | None) -> pb.Event:
    """The message of an event. Details are stored under the names of the message's fields.

    The other side of a link is left out where it is outside of `reach`.
    """
    details = dict(event.details)
    linked = details.get("linked", "")
    if linked and reach is not None and linked.partition("/")[0] not in reach:
        del details["linked"]
    run_state = details.pop("run_state", "unspecified")
    return pb.Event(
        sequence=event.seq,
        type=pb.EventType.Value(events.TYPE_PREFIX + event.type.upper()),
        run_state=run_pb2.RunState.Value(events.RUN_STATE_PREFIX + run_state.upper()),
        create_time=convert.timestamp(event.time),
        principal=event.principal,
        entity=entity,
        project=project,
        collection_id=event.collection_id or "",
        **details,
    )


def _encoded(event: Event, source: Source) -> bytes:
    shown = message(event, source.entity, source.project.name, source.reach)
    return pb.WatchEventsResponse(events=[shown]).SerializeToString()
