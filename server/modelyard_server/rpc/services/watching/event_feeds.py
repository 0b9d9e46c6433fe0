"""The newest events of a project, read and encoded once for all watches.

A feed reads the table for every watch with the same project, filter and reach,
and keeps the newest events. A watch that is further behind, because it is new
or its client is slow, reads the table by itself until it has caught up. So
nothing is queued for a watch, and a slow watch does not delay others.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import deque
from collections.abc import Iterator
from itertools import dropwhile, islice

from modelyard_server.rpc.services.watching.event_wakeups import EventSignals
from modelyard_server.rpc.wire import event_pages
from modelyard_server.rpc.wire.event_pages import Encoded, Page, Source

KEPT_EVENTS = 1_000
KEPT_BYTES = 256 << 10
LEAST_PAUSE = 0.01
PAUSE_FOR_EACH = 0.0002
"""Seconds between two reads, for each watch, so that a burst of writes makes few messages."""
log = logging.getLogger(__name__)


class Feeds:
    """The feeds of a process; a feed lives while a watch follows it. Use it on the event loop."""

    def __init__(self, signals: EventSignals) -> None:
        self._signals = signals
        self._feeds: dict[tuple[int, str, frozenset[str] | None], Feed] = {}

    @contextlib.contextmanager
    def follow(self, source: Source, position: int) -> Iterator[Feed]:
        """The feed of a source; a new one begins at `position`."""
        feed = self._feeds.get(source.key)
        if feed is None or feed.over:
            feed = self._feeds[source.key] = Feed(self._signals, source, position)
        feed.followers += 1
        try:
            yield feed
        finally:
            feed.followers -= 1
            if not feed.followers:
                feed.end()
                if self._feeds.get(source.key) is feed:
                    del self._feeds[source.key]


class Feed:
    """Events after a sequence number, from memory."""

    def __init__(self, signals: EventSignals, source: Source, position: int) -> None:
        self.followers = 0
        self.over = False
        """Whether the feed has ended: the server stops, or the database failed."""
        self._source = source
        self._begin = position  # `_kept` has all events after it, up to `_position`
        self._position = position
        self._kept: deque[Encoded] = deque()
        self._bytes = 0
        self._pages: dict[int, tuple[Page, bytes]] = {}
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._follow(signals))

    def end(self) -> None:
        """Stops reading."""
        self._task.cancel()

    def covers(self, position: int) -> bool:
        """Whether the feed has all events after this number."""
        return not self.over and position >= self._begin

    def after(self, position: int) -> tuple[Page, bytes]:
        """The page of events after a number that is covered, and its encoded message."""
        known = self._pages.get(position)
        if known is None:
            known = self._pages[position] = self._page(position)
        return known

    async def wait(self, position: int, until: float) -> None:
        """Waits for events after `position`, the end of the feed, or the time `until` of the loop's clock."""
        news = self._news
        if self.over or (self._kept and self._kept[-1].sequence > position):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await news.wait()

    def _page(self, position: int) -> tuple[Page, bytes]:
        # One event more than a page shows whether there are more.
        newest = list(islice(_newer(self._kept, position), event_pages.PAGE + 1))
        more = len(newest) > event_pages.PAGE
        events = newest[: event_pages.PAGE]
        page = Page(events, events[-1].sequence if more else max(position, self._position), more)
        return page, page.message()

    async def _follow(self, signals: EventSignals) -> None:
        try:
            with signals.project(self._source.project.id) as signal:
                while not signals.stopping:
                    signal.clear()
                    look = functools.partial(event_pages.read, source=self._source, after=self._position)
                    page = await signals.read(look)
                    if page.position > self._position:
                        self._keep(page)
                        await asyncio.sleep(max(LEAST_PAUSE, self.followers * PAUSE_FOR_EACH))
                    if not page.more:
                        await signal.wait()
        except Exception as error:
            # Each watch now reads by itself; it fails in the same way or starts the next feed.
            log.info("reading events for several watches failed: %s", error)
        finally:
            self.over = True
            self._news.set()

    def _keep(self, page: Page) -> None:
        self._position = page.position
        self._pages.clear()
        if not page.events:
            return
        self._kept.extend(page.events)
        self._bytes += sum(len(event.message) for event in page.events)
        while len(self._kept) > KEPT_EVENTS or self._bytes > KEPT_BYTES:
            oldest = self._kept.popleft()
            self._begin = oldest.sequence
            self._bytes -= len(oldest.message)
        self._news.set()
        self._news = asyncio.Event()


def _newer(kept: deque[Encoded], position: int) -> Iterator[Encoded]:
    return dropwhile(lambda event: event.sequence <= position, kept)
