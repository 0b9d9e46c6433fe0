"""WatchEvents without a project: the events of every project of an entity.

Each project numbers its own events, so the position of such a watch is one
number for each project. The projects are read after every write of this
process, and every half second for the writes of other replicas.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.v1 import event_pb2 as pb
from modelyard_server.db.tables import Project
from modelyard_server.domain import events
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, Resource, authorize, reach
from modelyard_server.domain.access.principals import Principal
from modelyard_server.rpc.dispatch.call import StreamCall
from modelyard_server.rpc.services.event_wakeups import EventSignals
from modelyard_server.rpc.wire import event_pages
from modelyard_server.rpc.wire.event_pages import Source

LOOK_SECONDS = 0.5
"""Seconds between two reads at most."""
LEAST_PAUSE = 0.05
"""Seconds between two reads at least, for a server that writes all the time."""
POSITION_LIMIT = 10_000
POSITIONS_A_MESSAGE = 1_000


class _Start(NamedTuple):
    """The entity, and by project the last sequence that is not sent."""

    entity: str
    positions: dict[str, int]


async def follow(
    request: pb.WatchEventsRequest, call: StreamCall, signals: EventSignals, idle_seconds: float
) -> AsyncGenerator[bytes]:
    """The messages of a watch, serialized. Raises NotFound, InvalidField, InvalidFilter, ServerStopping."""
    clock = asyncio.get_running_loop().time
    seen = reach(call.principal)
    entity, positions = await call.read(functools.partial(_start, request=request, principal=call.principal))
    for message in _with_positions(positions):
        yield message
    sent_at = clock()
    unsent: dict[str, int] = {}
    while True:
        signals.require_serving()
        more = False
        look = functools.partial(events.projects_of, principal=call.principal, entity=entity)
        for project in await call.read(look):
            after = positions.setdefault(project.name, 0)
            if project.event_seq <= after:
                continue
            source = Source(project, entity, request.filter, seen)
            page = await call.read(functools.partial(event_pages.read, source=source, after=after))
            positions[project.name] = unsent[project.name] = page.position
            more = more or page.more
            if page.events:
                await call.recheck()
                sent_at = clock()
                place = _with_positions({project.name: unsent.pop(project.name)})
                yield b"".join((*(event.message for event in page.events), *place))
        if clock() - sent_at >= idle_seconds:
            await call.recheck()
            sent_at = clock()
            for message in _with_positions(unsent):
                yield message
            unsent.clear()
        if not more:
            await asyncio.sleep(LEAST_PAUSE)
            await signals.any_project(LOOK_SECONDS)


def _start(session: Session, *, request: pb.WatchEventsRequest, principal: Principal) -> _Start:
    if request.after_sequence:
        raise errors.InvalidField.of("after_sequence", "is 0 or unset without a project")
    if len(request.after_positions) > POSITION_LIMIT:
        raise errors.InvalidField.of("after_positions", f"are more than {POSITION_LIMIT:,}")
    events.check_filter(session, request.filter)
    entity = request.entity or principal.entity
    if not authorize(session, principal, Action.READ, Resource(entity)):
        raise owners.not_found("entity", entity)
    projects = events.projects_of(session, principal, entity)
    from_now = not request.HasField("after_sequence") and not request.after_positions
    positions = {project.name: project.event_seq if from_now else 0 for project in projects}
    return _Start(entity, positions | _given(request, projects))


def _given(request: pb.WatchEventsRequest, projects: Sequence[Project]) -> dict[str, int]:
    last = {project.name: project.event_seq for project in projects}
    given: dict[str, int] = {}
    for index, place in enumerate(request.after_positions):
        if not 0 <= place.last_sequence <= last.get(place.project, 0):
            reached = last.get(place.project, 0)
            raise errors.InvalidField.of(
                f"after_positions[{index}]",
                f"is {place.last_sequence}; the last event of {place.project!r} is {reached}",
            )
        given[place.project] = place.last_sequence
    return given


def _with_positions(positions: Mapping[str, int]) -> list[bytes]:
    """Messages with these positions and no events; at least one, which shows that the server is there."""
    places = [pb.ProjectPosition(project=name, last_sequence=last) for name, last in positions.items()]
    starts = range(0, len(places) or 1, POSITIONS_A_MESSAGE)
    parts = [places[start : start + POSITIONS_A_MESSAGE] for start in starts]
    return [pb.WatchEventsResponse(positions=part).SerializeToString() for part in parts]
