"""EventService: what changed in a project, in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from modelyard import errors
from modelyard.v1 import event_pb2 as pb
from modelyard.v1 import event_pb2_grpc
from modelyard_server.db.tables import Event, Project
from modelyard_server.domain import events, owners, paging
from modelyard_server.rpc import convert
from modelyard_server.rpc.call import Call, StreamCall
from modelyard_server.rpc.limits import StreamLimit
from modelyard_server.rpc.watching import Watching

DEFAULT_SIZE = 100
WATCH_PAGE = 200
WATCH_SPAN = 10_000
"""Events that one read of a watch looks at, however few its filter lets through."""
WATCH_PAUSE = 0.05
"""Least seconds between two reads of a watch that is up to date: a burst of writes makes few messages."""
IDLE_SECONDS = 30.0


class _Place(NamedTuple):
    """A project as its events name it, and where a watch starts."""

    project: Project
    entity: str
    start: int


class EventServicer(event_pb2_grpc.EventServiceServicer):
    """Events over the wire; the rules are in `domain.events`."""

    def __init__(self, watching: Watching, streams: StreamLimit, idle_seconds: float = IDLE_SECONDS) -> None:
        self._watching = watching
        self._streams = streams
        self._idle_seconds = idle_seconds

    def ListEvents(self, request: pb.ListEventsRequest, call: Call) -> pb.ListEventsResponse:
        if request.after_sequence < 0:
            raise errors.InvalidField.of("after_sequence", "is negative; 0 means from the first event")
        size = paging.check_size(request.page_size, default=DEFAULT_SIZE)
        project = owners.find_project(call.session, call.principal, request.entity, request.project)
        entity = owners.entity_of(call.session, project).name
        found, last = events.after(call.session, project, request.after_sequence, size, request.filter)
        shown = [_message(event, entity, project.name) for event in found]
        return pb.ListEventsResponse(events=shown, last_sequence=last)

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, call: StreamCall
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        with self._streams:
            place = await call.read(lambda session: _place(session, call, request))
            with self._watching.project(place.project.id) as signal:
                async for reply in self._watch(place, request.filter, call, signal):
                    yield reply

    async def _watch(
        self, place: _Place, filter_: str, call: StreamCall, signal: asyncio.Event
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        position = place.start
        told = float("-inf")  # the first message comes at once: the client knows that it is heard
        clock = asyncio.get_running_loop().time

        def look(session: Session) -> tuple[Sequence[Event], int]:
            return events.after(session, place.project, position, WATCH_PAGE, filter_, span=WATCH_SPAN)

        while True:
            self._watching.require_serving()
            signal.clear()
            before = position
            found, position = await call.read(look)
            if found or clock() - told >= self._idle_seconds:
                await call.recheck()
                told = clock()
                yield _reply(found, place, position)
            if position - before >= WATCH_SPAN or len(found) == WATCH_PAGE:
                continue  # there may be more already
            if position > before:
                await asyncio.sleep(WATCH_PAUSE)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(signal.wait(), max(0.0, told + self._idle_seconds - clock()))


def _place(session: Session, call: StreamCall, request: pb.WatchEventsRequest) -> _Place:
    project = owners.find_project(session, call.principal, request.entity, request.project)
    start, last = request.after_sequence, project.event_seq
    if start < -1:
        raise errors.InvalidField.of("after_sequence", "is below -1, which means from now on")
    if start > last:
        # It would wait for numbers that others get first: better told than missed.
        raise errors.InvalidField.of("after_sequence", f"is {start}; the last event of the project is {last}")
    entity = owners.entity_of(session, project).name
    return _Place(project, entity, last if start == -1 else start)


def _reply(found: Sequence[Event], place: _Place, position: int) -> pb.WatchEventsResponse:
    shown = [_message(event, place.entity, place.project.name) for event in found]
    return pb.WatchEventsResponse(events=shown, last_sequence=position)


def _message(event: Event, entity: str, project: str) -> pb.Event:
    # Details are stored under the names that the message's fields have.
    return pb.Event(
        sequence=event.seq,
        type=pb.EventType.Value(f"EVENT_TYPE_{event.type.upper()}"),
        time=convert.timestamp(event.time),
        principal=event.principal,
        entity=entity,
        project=project,
        collection_id=event.collection_id or "",
        **event.details,
    )
