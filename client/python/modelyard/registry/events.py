"""Events of a project, in order: `Api.events`."""

from __future__ import annotations

import datetime
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.arguments import checked_calls
from modelyard.contract import errors
from modelyard.host import waiting
from modelyard.rpc import messages
from modelyard.rpc.connection import Connection
from modelyard.rpc.list_calls import pages
from modelyard.rpc.retry import FIRST_PAUSE, Backoff, asks_for_retry
from modelyard.v1 import event_pb2 as pb

_PAGE_SIZE = 1_000
_LONGEST_PAUSE = 10.0
_PREFIX = "EVENT_TYPE_"


@dataclass(frozen=True)
class Event:
    """One change in a project. Fields that do not apply to its type are empty.

    `sequence` is its number in the project: 1, 2, 3, … without gaps; `type` one
    of version_created, version_updated, version_deleted, linked, unlinked,
    alias_added, alias_removed, tag_added, tag_removed, run_state,
    collection_created, collection_updated, collection_deleted. Versions are
    `vN`; `linked` is the full ref of the other side of a link; `previous_version` the
    version that an alias pointed at before.
    """

    sequence: int
    type: str
    create_time: datetime.datetime
    principal: str
    entity: str
    project: str
    collection: str
    collection_id: str
    version: str
    version_id: str
    alias: str
    previous_version: str
    linked: str
    run_id: str
    run_state: str
    tag: str

    @property
    def ref(self) -> str:
        """The ref of the version, collection or project that it is about."""
        path = f"{self.entity}/{self.project}/{self.collection}".rstrip("/")
        return f"{path}:{self.version}" if self.version else path


@checked_calls()
class Events(Iterator[Event]):
    """Events after a sequence number, oldest first.

    `last_sequence` is the number of the last event that was seen: pass it as `after`
    to continue without gaps and repetitions; for a whole entity pass `positions`. Both
    are None until the server has said where a watch from now on begins. With
    `follow` the iteration waits for new events and reconnects when the connection
    was lost; `close`, also from another thread, ends it.
    """

    def __init__(
        self,
        connection: Connection,
        entity: str,
        project: str,
        *,
        after: int | Mapping[str, Any] | None = 0,
        follow: bool = False,
        condition: str = "",
    ) -> None:
        given = dict(after) if isinstance(after, Mapping) else {}
        start = 0 if isinstance(after, Mapping) else after
        _check_start(start, given, project, follow)
        self.positions: dict[str, int] | None = given if project or start is not None else None
        """Of a whole entity: by project the last sequence, for `after`."""
        self.last_sequence = start
        self.on_start: Callable[[int], None] | None = None
        """With `follow`, called once when the watch has begun, with the sequence number it begins after."""
        self._connection = connection
        self._entity, self._project, self._condition = entity, project, condition
        self._call: Any = None
        self._closed = threading.Event()
        self._events = self._follow() if follow else self._list()

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """Ends the iteration."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _list(self) -> Iterator[Event]:
        request = pb.ListEventsRequest(
            entity=self._entity,
            project=self._project,
            filter=self._condition,
            after_sequence=self.last_sequence or 0,
            page_size=_PAGE_SIZE,
        )
        for page in pages(self._connection.events.ListEvents, request):
            for message in page.events:
                self.last_sequence = message.sequence
                yield event(message)
            self.last_sequence = page.last_sequence
            if self._closed.is_set():
                return

    def _follow(self) -> Iterator[Event]:
        backoff = Backoff(longest=_LONGEST_PAUSE, give_up=math.inf)
        while not self._closed.is_set():
            try:
                for found in self._stream():
                    backoff.reset()
                    yield found
                pause = FIRST_PAUSE
            except errors.CommError as error:
                if self._closed.is_set():
                    return
                if not asks_for_retry(error) and not self._connection.may_have_moved(error):
                    raise
                pause = backoff.next(error.retry_delay) or _LONGEST_PAUSE
            waiting.until(self._closed.wait, pause)
            self._reconnect()

    def _stream(self) -> Iterator[Event]:
        request = pb.WatchEventsRequest(
            entity=self._entity,
            project=self._project,
            filter=self._condition,
            after_sequence=self.last_sequence,
            after_positions=[
                pb.ProjectPosition(project=name, last_sequence=last)
                for name, last in (self.positions or {}).items()
            ],
        )
        self._call = self._connection.events.WatchEvents(request)
        if self._closed.is_set():  # closed before this call existed and could be cancelled
            self._call.cancel()
        try:
            yield from self._of_project() if self._project else self._of_entity()
        finally:
            self._call.cancel()

    def _of_project(self) -> Iterator[Event]:
        for reply in self._call:
            first = reply.events[0].sequence - 1 if reply.events else reply.last_sequence
            self._started(first if self.last_sequence is None else self.last_sequence)
            for message in reply.events:
                self.last_sequence = message.sequence
                yield event(message)
            # The number may be larger than that of the last event sent: the filter dropped some.
            self.last_sequence = reply.last_sequence

    def _of_entity(self) -> Iterator[Event]:
        # Of a watch from now on, part of the positions would be a wrong start: the other projects' past.
        positions = dict(self.positions or {})
        for reply in self._call:
            for message in reply.events:
                positions[message.project] = message.sequence
                yield event(message)
            positions |= {each.project: each.last_sequence for each in reply.positions}
            if reply.positions_complete and self.positions is not positions:
                self.positions, self.last_sequence = positions, 0
                self._started(0)

    def _started(self, sequence: int) -> None:
        started, self.on_start = self.on_start, None
        if started is not None:
            started(sequence)

    def _reconnect(self) -> None:
        try:
            self._connection.reconnect()
        except errors.CommError as error:
            if not asks_for_retry(error):
                raise


def _check_start(after: int | None, positions: Mapping[str, int], project: str, follow: bool) -> None:
    if not project and not follow:
        raise ValueError("the events of a whole entity are only followed: pass follow=True, or a project")
    if not project and after:
        raise ValueError("after is 0, None or the positions by project, since each project counts its events")
    if project and positions:
        raise ValueError("after is a sequence number for a project")
    if after is None and not follow:
        raise ValueError("after=None means from now on, which needs follow=True")
    if after is not None and after < 0:
        raise ValueError("after is a sequence number from 0, or None: from now on")


def event(message: pb.Event) -> Event:
    """The event of an Event message."""
    name = pb.EventType.Name(message.type) if message.type in pb.EventType.values() else "unknown"
    return Event(
        sequence=message.sequence,
        type=name.removeprefix(_PREFIX).lower(),
        create_time=messages.time_of(message.create_time),
        principal=message.principal,
        entity=message.entity,
        project=message.project,
        collection=message.collection,
        collection_id=message.collection_id,
        version=message.version,
        version_id=message.version_id,
        alias=message.alias,
        previous_version=message.previous_version,
        linked=message.linked,
        run_id=message.run_id,
        run_state=messages.run_state(message.run_state) if message.run_state else "",
        tag=message.tag,
    )


def as_json(found: Event) -> dict[str, Any]:
    """An event as JSON, without empty fields."""
    plain = {key: value for key, value in vars(found).items() if value}
    return {**plain, "create_time": found.create_time.isoformat()}
