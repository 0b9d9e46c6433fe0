"""WatchEvents without a project: the events of every project of an entity.

Each project numbers its own events, so the position of such a watch is one
number for each project that has events.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from modelyard.contract import errors, limits
from modelyard.v1 import event_pb2 as pb
from modelyard_server import failpoints
from modelyard_server.domain import event_heads, events
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, Resource, authorize, reach
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.event_heads import Head
from modelyard_server.rpc.dispatch.call import StreamCall
from modelyard_server.rpc.services.watching.entity_feeds import EntityFeeds
from modelyard_server.rpc.wire.event_pages import Source

POSITIONS_BYTES = limits.MESSAGE_BYTES - (64 << 10)
"""Of the positions in a request, which has a filter too."""
POSITION_BYTES = 16
"""Of a position, beside the name of its project."""
POSITIONS_A_MESSAGE = 1_000


class _Start(NamedTuple):
    """The number after which each project is watched, by its id, and those that the client cannot know."""

    positions: dict[int, int]
    unknown: dict[str, int]


async def follow(
    request: pb.WatchEventsRequest, call: StreamCall, feeds: EntityFeeds, idle_seconds: float
) -> AsyncGenerator[bytes]:
    """The messages of a watch, serialized. Raises NotFound, InvalidField, InvalidFilter, ServerStopping."""
    clock = asyncio.get_running_loop().time
    entity, seen = request.entity or call.principal.entity, reach(call.principal)
    start = functools.partial(_start, request=request, principal=call.principal, entity=entity)
    positions, unknown = await call.read(start)
    for message in _with_positions(unknown, begins=True):
        failpoints.hit("watch.before_positions")
        yield message
    sent_at = clock()
    unsent: dict[str, int] = {}
    with feeds.follow(entity) as news:
        while True:
            ahead = await news.wait(sent_at + idle_seconds)
            for project in await _behind(call, entity, ahead, positions):
                feeds.require_serving()
                page = await news.page(Source(project, entity, request.filter, seen), positions[project.id])
                positions[project.id] = unsent[project.name] = page.position
                if page.more:
                    news.add([project])
                if page.events:
                    await call.recheck()
                    sent_at = clock()
                    place = _with_positions({project.name: unsent.pop(project.name)})
                    yield b"".join((*(event.message for event in page.events), *place))
            feeds.require_serving()
            if clock() - sent_at >= idle_seconds:
                await call.recheck()
                sent_at = clock()
                for message in _with_positions(unsent):
                    yield message
                unsent.clear()


async def _behind(
    call: StreamCall, entity: str, projects: Sequence[Head], positions: dict[int, int]
) -> list[Head]:
    """Those of the projects that have events after the positions. Adds positions of new projects."""
    new = [project for project in projects if project.id not in positions]
    if new:
        look = functools.partial(event_heads.readable, principal=call.principal, entity=entity, heads=new)
        positions |= {project.id: 0 for project in await call.read(look)}
    return [project for project in projects if project.last > positions.get(project.id, project.last)]


def _start(session: Session, *, request: pb.WatchEventsRequest, principal: Principal, entity: str) -> _Start:
    if request.after_sequence:
        raise errors.InvalidField.of("after_sequence", "is 0 or unset without a project")
    events.check_filter(session, request.filter)
    if not authorize(session, principal, Action.READ, Resource(entity)):
        raise owners.not_found("entity", entity)
    projects = event_heads.readable(session, principal, entity, event_heads.of_entity(session, entity))
    _check_size(entity, projects)
    given = _given(request, {project.name: project.last for project in projects})
    if request.HasField("after_sequence") or request.after_positions:
        return _Start({project.id: given.get(project.name, 0) for project in projects}, {})
    now = {project.id: project.last for project in projects}
    return _Start(now, {project.name: project.last for project in projects if project.last})


def _check_size(entity: str, projects: Sequence[Head]) -> None:
    """Raises QuotaExceeded if a request to continue, with the position of each project, may be too large."""
    sizes = [len(project.name.encode()) + POSITION_BYTES for project in projects if project.last]
    if sum(sizes) > POSITIONS_BYTES:
        raise errors.QuotaExceeded.of(
            "project",
            f"is required: {entity} has {len(sizes):,} projects with events, more than a request to continue "
            "can list; watch them one by one, each from its last sequence",
        )


def _given(request: pb.WatchEventsRequest, last: Mapping[str, int]) -> dict[str, int]:
    """The positions of the request by project. Raises InvalidField for one that is not reached."""
    given: dict[str, int] = {}
    for index, place in enumerate(request.after_positions):
        reached = last.get(place.project, 0)
        if not 0 <= place.last_sequence <= reached:
            raise errors.InvalidField.of(
                f"after_positions[{index}]",
                f"is {place.last_sequence}; the last event of {place.project!r} is {reached}",
            )
        given[place.project] = place.last_sequence
    return given


def _with_positions(positions: Mapping[str, int], *, begins: bool = False) -> list[bytes]:
    """Messages with these positions and no events; at least one, which shows that the server is there.

    When the watch `begins`, only the last of them says that the client has all positions.
    """
    places = [pb.ProjectPosition(project=name, last_sequence=last) for name, last in positions.items()]
    starts = range(0, len(places) or 1, POSITIONS_A_MESSAGE)
    parts = [places[start : start + POSITIONS_A_MESSAGE] for start in starts]
    return [
        pb.WatchEventsResponse(
            positions=part, positions_complete=not begins or part is parts[-1]
        ).SerializeToString()
        for part in parts
    ]
