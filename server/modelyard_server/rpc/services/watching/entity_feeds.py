"""The new events of an entity's projects, read once for all watches of the entity.

A feed keeps the number of each project's last event, and tells each watch which
projects have new ones. Watches at the same position, with the same filter and
reach, share the pages that they read and encode. After a write of this process
only the projects written to are read; every half second the numbers of projects
and events show whether another replica wrote, and then all are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence

from modelyard_server.domain import event_heads
from modelyard_server.domain.event_heads import Head
from modelyard_server.rpc.services.watching.event_wakeups import EventSignals
from modelyard_server.rpc.wire import event_pages
from modelyard_server.rpc.wire.event_pages import Page, Source

LOOK_SECONDS = 0.5
"""Seconds between two looks for writes of other replicas."""
LEAST_PAUSE = 0.05
"""Seconds between two reads at least, for a server that writes all the time."""
KEPT_PAGES = 64
_PageKey = tuple[tuple[int, str, frozenset[str] | None], int]


class EntityFeeds:
    """The feeds of a process, by entity; a feed lives while a watch follows it. Use it on the event loop."""

    def __init__(self, signals: EventSignals) -> None:
        self._signals = signals
        self._feeds: dict[str, EntityFeed] = {}

    def require_serving(self) -> None:
        """Raises ServerStopping when the server is stopping."""
        self._signals.require_serving()

    @contextlib.contextmanager
    def follow(self, entity: str) -> Iterator[Follower]:
        """What is new in an entity's projects; at first every project is, since the watch has seen none."""
        feed = self._feeds.get(entity)
        if feed is None or feed.over:
            feed = self._feeds[entity] = EntityFeed(self._signals, entity)
        follower = Follower(feed)
        follower.add(feed.heads.values())
        feed.followers.add(follower)
        try:
            yield follower
        finally:
            feed.followers.remove(follower)
            if not feed.followers:
                feed.end()
                if self._feeds.get(entity) is feed:
                    del self._feeds[entity]


class EntityFeed:
    """How far the events of an entity's projects go, and their newest pages."""

    def __init__(self, signals: EventSignals, entity: str) -> None:
        self.heads: dict[int, Head] = {}
        self.followers: set[Follower] = set()
        self.over = False
        """Whether the feed has ended: the server stops, or the database failed."""
        self.failure: Exception | None = None
        """Why the feed has ended, if the database failed."""
        self._signals = signals
        self._entity = entity
        self._pages: dict[_PageKey, asyncio.Task[Page]] = {}
        self._task = asyncio.create_task(self._follow())

    def end(self) -> None:
        """Stops reading."""
        self._task.cancel()

    async def page(self, source: Source, after: int) -> Page:
        """The events of a project after a number, read once for all that ask. Raises InvalidFilter."""
        key = (source.key, after)
        reading = self._pages.get(key)
        if reading is None:
            reading = self._pages[key] = asyncio.create_task(self._read_page(source, after))
            reading.add_done_callback(functools.partial(self._forget_failure, key))
            while len(self._pages) > KEPT_PAGES:
                del self._pages[next(iter(self._pages))]
        # The others still wait for it when the client of this watch disconnects.
        return await asyncio.shield(reading)

    async def _read_page(self, source: Source, after: int) -> Page:
        return await self._signals.read(functools.partial(event_pages.read, source=source, after=after))

    def _forget_failure(self, key: _PageKey, reading: asyncio.Task[Page]) -> None:
        if (reading.cancelled() or reading.exception() is not None) and self._pages.get(key) is reading:
            del self._pages[key]

    async def _follow(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            with self._signals.entity(self._entity) as signal:
                looked_at = float("-inf")
                written: set[int] = set()
                while not self._signals.stopping:
                    if clock() - looked_at >= LOOK_SECONDS:
                        looked_at = clock()
                        await self._look_at_all()
                    elif written:
                        await self._look_at(written)
                    await asyncio.sleep(LEAST_PAUSE)
                    written = await signal.wait(looked_at + LOOK_SECONDS - clock())
        except Exception as error:
            self.failure = error
        finally:
            self.over = True
            for follower in self.followers:
                follower.add(())

    async def _look_at_all(self) -> None:
        known = len(self.heads), sum(head.last for head in self.heads.values())
        if await self._signals.read(functools.partial(event_heads.total, entity=self._entity)) != known:
            look = functools.partial(event_heads.of_entity, entity=self._entity)
            self._tell(await self._signals.read(look))

    async def _look_at(self, project_ids: set[int]) -> None:
        look = functools.partial(event_heads.of_projects, entity=self._entity, project_ids=project_ids)
        self._tell(await self._signals.read(look))

    def _tell(self, heads: Sequence[Head]) -> None:
        changed = {head.id: head for head in heads if self.heads.get(head.id) != head}
        self.heads |= changed
        for key in [key for key in self._pages if key[0][0] in changed]:
            del self._pages[key]
        for follower in self.followers:
            follower.add(changed.values())


class Follower:
    """The projects with news that one watch has not taken yet."""

    def __init__(self, feed: EntityFeed) -> None:
        self.page = feed.page
        self._feed = feed
        self._ahead: dict[int, Head] = {}
        self._news = asyncio.Event()

    def add(self, heads: Iterable[Head]) -> None:
        """Ends the wait for these projects, or for the end of the feed."""
        self._ahead |= {head.id: head for head in heads}
        self._news.set()

    async def wait(self, until: float) -> list[Head]:
        """Takes the projects with news, as soon as there are any.

        None at the time `until` of the loop's clock, and when the server stops. Raises
        the error with which the reading of the database failed.
        """
        if not self._feed.over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._news.wait()
        if self._feed.failure is not None:
            raise self._feed.failure
        self._news.clear()
        ahead, self._ahead = list(self._ahead.values()), {}
        return ahead
