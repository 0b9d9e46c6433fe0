"""EventService: the changes in a project, in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard.v1 import event_pb2 as pb
from modelyard_server.domain import event_heads, events, fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, Resource, authorize, reach
from modelyard_server.domain.access.owner_not_found import project_not_found
from modelyard_server.domain.search import paging
from modelyard_server.rpc.dispatch.call import Call, StreamCall
from modelyard_server.rpc.dispatch.stream_limits import StreamLimit
from modelyard_server.rpc.services.watching import entity_watch
from modelyard_server.rpc.services.watching.entity_feeds import EntityFeeds, Follower
from modelyard_server.rpc.services.watching.event_feeds import Feed, Feeds
from modelyard_server.rpc.services.watching.event_wakeups import EventSignals
from modelyard_server.rpc.wire import arguments, event_pages
from modelyard_server.rpc.wire.event_pages import Source

DEFAULT_SIZE = 100
IDLE_SECONDS = 30.0


class EventServicer:
    """EventService; the rules are in `domain/events.py`."""

    def __init__(
        self, signals: EventSignals, streams: StreamLimit, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._signals = signals
        self._feeds = Feeds(signals)
        self._entity_feeds = EntityFeeds(signals)
        self._streams = streams
        self._idle_seconds = idle_seconds

    def ListEvents(self, request: pb.ListEventsRequest, call: Call) -> pb.ListEventsResponse:
        if request.after_sequence < 0:
            raise errors.InvalidField.of("after_sequence", "is negative; 0 means from the first event")
        size = paging.check_size(request.page_size, default=DEFAULT_SIZE)
        name = arguments.required("project", request.project)
        project = owners.find_project(call.session, call.principal, request.entity, name)
        entity = owners.entity_of(call.session, project).name
        binding = ("events", project.id, request.after_sequence, request.filter)
        start = request.after_sequence
        if request.page_token:
            start = paging.decode(request.page_token, binding, [paging.KEY])[0]
        found = events.after(call.session, project.id, start, size, request.filter)
        seen = reach(call.principal)
        return pb.ListEventsResponse(
            events=[event_pages.message(event, entity, project.name, seen) for event in found.events],
            last_sequence=found.position,
            next_page_token=paging.encode(binding, [found.position]) if found.more else "",
        )

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, call: StreamCall
    ) -> AsyncIterator[Any]:  # encoded messages
        self._streams.enter(call.principal)
        # A watch waits for what does not exist yet; for a name that cannot exist it would wait forever.
        fields.check_place("", request.entity, request.project)
        if request.project:
            replies = self._watch_project(request, call)
        else:
            replies = entity_watch.follow(request, call, self._entity_feeds, self._idle_seconds)
        async with contextlib.aclosing(replies):
            async for reply in replies:
                yield reply

    async def _watch_project(self, request: pb.WatchEventsRequest, call: StreamCall) -> AsyncGenerator[bytes]:
        clock = asyncio.get_running_loop().time
        # The first reply is sent at once, so that the client knows that the watch has begun.
        sent_at = float("-inf")
        found = await call.read(functools.partial(_source, call=call, request=request))
        if found is None:
            look = functools.partial(_source, call=call, request=request, waited=True)
            with self._entity_feeds.follow(request.entity or call.principal.entity) as news:
                while (found := await call.read(look)) is None:
                    if clock() - sent_at >= self._idle_seconds:
                        await call.recheck()
                        sent_at = clock()
                        yield pb.WatchEventsResponse().SerializeToString()
                    await self._made(request.project, news, sent_at + self._idle_seconds)
        watch = self._watch(*found, call=call, sent_at=sent_at)
        async with contextlib.aclosing(watch):
            async for message in watch:
                yield message

    async def _made(self, project: str, news: Follower, until: float) -> None:
        """Waits until a project may have been made, and at most until a time of the loop's clock."""
        clock = asyncio.get_running_loop().time
        while clock() < until:
            ahead = await news.wait(until)
            self._signals.require_serving()
            if any(head.name == project for head in ahead):
                return

    async def _watch(
        self, source: Source, position: int, *, call: StreamCall, sent_at: float
    ) -> AsyncGenerator[bytes]:
        clock = asyncio.get_running_loop().time
        with contextlib.ExitStack() as following:
            feed: Feed | None = None
            while True:
                self._signals.require_serving()
                if feed is not None and feed.covers(position):
                    page, message = feed.after(position)
                else:
                    page = await call.read(functools.partial(event_pages.read, source=source, after=position))
                    message = page.message()
                position = page.position
                if page.events or clock() - sent_at >= self._idle_seconds:
                    await call.recheck()
                    sent_at = clock()
                    yield message
                if page.more:
                    continue
                if feed is None or feed.over:
                    following.close()
                    feed = following.enter_context(self._feeds.follow(source, position))
                await feed.wait(position, sent_at + self._idle_seconds)


def _source(
    session: Session, *, call: StreamCall, request: pb.WatchEventsRequest, waited: bool = False
) -> tuple[Source, int] | None:
    """What is watched, and the sequence number after which the watch begins; None: there is no project yet.

    All events of a project that was waited for come after the call.
    """
    if request.after_positions:
        raise errors.InvalidField.of("after_positions", "goes without a project; use after_sequence")
    if request.after_sequence < 0:
        raise errors.InvalidField.of("after_sequence", "is negative; 0 means from the first event")
    from_now = not request.HasField("after_sequence") and not waited
    entity = request.entity or call.principal.entity
    if not authorize(session, call.principal, Action.READ, Resource(entity, request.project)):
        raise project_not_found(session, call.principal, entity, request.project)
    project = event_heads.named(session, entity, request.project)
    if project is None:
        fields.check("project", refs.check_owner, request.project, "project")
        events.check_filter(session, request.filter)
    start, last = request.after_sequence, project.last if project else 0
    if start > last:
        # Such a watch would miss the next events, which get lower numbers.
        raise errors.InvalidField.of("after_sequence", f"is {start}; the last event of the project is {last}")
    if project is None:
        return None
    return Source(project, entity, request.filter, reach(call.principal)), last if from_now else start
