"""Watches as consumers hold them, and what they watch."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc

from modelyard.v1 import alias_pb2
from modelyard.v1 import event_pb2 as pb
from tests.clients import fast_upload, refusals
from tests.clients.fast_upload import random_chunks
from tests.clients.refusals import Refusal
from tests.parts.server import Stubs

WAIT_SECONDS = 20.0  # less than the time after which a watch looks even if nothing woke it


class Watch:
    """A watch that a thread reads, as a consumer does; from the first event unless said otherwise."""

    def __init__(self, stubs: Stubs, project: str, after_sequence: int | None = 0, **request: Any) -> None:
        self.call = stubs.events.WatchEvents(
            pb.WatchEventsRequest(project=project, after_sequence=after_sequence, **request)
        )
        self.replies: queue.Queue[pb.WatchEventsResponse | grpc.RpcError] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def next(self) -> pb.WatchEventsResponse:
        """The next message. Raises RpcError where the watch ends."""
        reply = self.replies.get(timeout=WAIT_SECONDS)
        if isinstance(reply, grpc.RpcError):
            raise reply
        return reply

    def until(self, sequence: int) -> list[pb.Event]:
        """The events up to a sequence number."""
        seen: list[pb.Event] = []
        while True:
            reply = self.next()
            seen += reply.events
            if reply.last_sequence >= sequence:
                return seen

    def end(self) -> Refusal:
        """Why the watch ended, once it has."""
        refusal = Refusal()
        while not isinstance(reply := self.replies.get(timeout=WAIT_SECONDS), grpc.RpcError):
            pass
        refusals.read(reply, refusal)
        return refusal

    def close(self) -> None:
        self.call.cancel()
        self._thread.join(WAIT_SECONDS)

    def _read(self) -> None:
        try:
            for reply in self.call:
                self.replies.put(reply)
        except grpc.RpcError as error:
            self.replies.put(error)


@contextlib.contextmanager
def watching(stubs: Stubs, project: str, **request: Any) -> Iterator[Watch]:
    watch = Watch(stubs, project, **request)
    try:
        yield watch
    finally:
        watch.close()


def log(stubs: Stubs, project: str, name: str = "bert", **header: Any) -> None:
    fast_upload.log(stubs, project, name, {"w": random_chunks(1, 500)}, **header)


def touch(stubs: Stubs, project: str, alias: str) -> None:
    """One event: an alias that comes, or one that goes."""
    update = alias_pb2.AliasUpdate(alias=alias, version="v0")
    request = alias_pb2.UpdateAliasesRequest(ref=f"{project}/bert", updates=[update])
    stubs.aliases.UpdateAliases(request)


def listed(stubs: Stubs, project: str) -> list[pb.Event]:
    """Every event of a project, as ListEvents tells them."""
    found: list[pb.Event] = []
    while True:
        request = pb.ListEventsRequest(
            project=project, page_size=1000, after_sequence=found[-1].sequence if found else 0
        )
        events = stubs.events.ListEvents(request).events
        found += events
        if len(events) < 1000:
            return found
