"""Many watches of one project or entity: its events are read once, and each watch sees exactly its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import grpc
import pytest

from modelyard.v1 import alias_pb2
from modelyard.v1 import event_pb2 as pb
from tests.clients.watch import Watch, listed, log, touch, watching
from tests.parts.server import Factory, LiveServer, Stubs, new_project
from tests.server.observability.test_telemetry import Samples, addresses, scrape

WATCHERS, EVENTS = 40, 20
BATCH = 25
ROUNDS = 60
"""Times that the aliases of a batch come and go: more events than are kept in memory."""


def _reads(samples: Samples) -> float:
    return samples["modelyard_transaction_seconds_count", ("read",)]


def test_events_are_read_once_however_many_watch(live_server_factory: Factory) -> None:
    server = live_server_factory("--metrics-port", "0").start()
    stubs, (address,) = server.stubs(), addresses(server)
    log(stubs, "p")
    last = len(listed(stubs, "p"))
    with contextlib.ExitStack() as stack:
        watches = [stack.enter_context(watching(stubs, "p", after_sequence=None)) for _ in range(WATCHERS)]
        for watch in watches:
            watch.next()
        before = _reads(scrape(address))
        for number in range(EVENTS):
            touch(stubs, "p", f"a{number}")
            for watch in watches:
                assert len(watch.until(last + number + 1)) == 1
        # Beside one for each event there are five a second that look for those of other servers.
        assert _reads(scrape(address)) - before < WATCHERS * EVENTS / 2


def test_events_of_an_entity_are_read_once_however_many_watch(live_server_factory: Factory) -> None:
    server = live_server_factory("--metrics-port", "0").start()
    stubs, (address,) = server.stubs(), addresses(server)
    log(stubs, "p")
    last = len(listed(stubs, "p"))
    with contextlib.ExitStack() as stack:
        watches = [stack.enter_context(watching(stubs, "", after_sequence=None)) for _ in range(WATCHERS)]
        for watch in watches:
            watch.next()
        before = _reads(scrape(address))
        for number in range(EVENTS):
            touch(stubs, "p", f"a{number}")
            for watch in watches:
                assert [event.sequence for event in watch.next().events] == [last + number + 1]
        # For each event one finds it and one reads it; two a second look for those of other servers.
        assert _reads(scrape(address)) - before < WATCHERS * EVENTS / 4


def test_events_of_other_entities_wake_no_watch(live_server_factory: Factory) -> None:
    server = live_server_factory("--metrics-port", "0").start()
    stubs, (address,) = server.stubs(), addresses(server)
    log(stubs, "p")
    with contextlib.ExitStack() as stack:
        watches = [
            stack.enter_context(watching(stubs, project, after_sequence=None, entity="others"))
            for project in ("", "later")
        ]
        for watch in watches:
            watch.next()
        touch(stubs, "p", "the first")
        before, begun = _reads(scrape(address)), time.monotonic()
        for number in range(200):
            touch(stubs, "p", f"a{number}")
        seconds = time.monotonic() - begun
        # Each looks twice a second for what other servers wrote; woken, it would look up to 20 times.
        assert _reads(scrape(address)) - before < 2 * 2 * (seconds + 1) + 2


def _toggle_aliases(stubs: Stubs, project: str) -> None:
    for change in ({"version": "v0"}, {"remove": True}):
        updates = [alias_pb2.AliasUpdate(alias=f"a{number}", **change) for number in range(BATCH)]
        request = alias_pb2.UpdateAliasesRequest(ref=f"{project}/bert", updates=updates)
        stubs.aliases.UpdateAliases(request)


def _rest(call: grpc.Call, last: int) -> list[pb.Event]:
    seen: list[pb.Event] = []
    for reply in call:
        seen += reply.events
        if reply.last_sequence >= last:
            break
    call.cancel()
    return seen


def test_watches_that_are_slow_late_or_filtered_see_the_same_as_one_that_keeps_up(
    any_live_server: LiveServer,
) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    log(stubs, project)
    before = listed(stubs, project)
    removed = 'type = "alias_removed"'
    with contextlib.ExitStack() as stack:

        def watch(**request: object) -> Watch:
            return stack.enter_context(watching(any_live_server.stubs(), project, **request))

        first, filtered = watch(), watch(filter=removed)
        # It reads its first message, and nothing more until all is over.
        slow = any_live_server.stubs().events.WatchEvents(
            pb.WatchEventsRequest(project=project, after_sequence=0)
        )
        seen_slowly = list(next(slow).events)
        late: list[tuple[int, Watch]] = []
        for number in range(ROUNDS):
            _toggle_aliases(stubs, project)
            if number % 20 == 10:
                start = len(before) + number * BATCH  # in the middle of what there is
                late.append((start, watch(after_sequence=start)))
        touch(stubs, project, "the end")
        everything = listed(stubs, project)
        last = len(everything)
        assert [event.sequence for event in everything] == list(range(1, last + 1))
        assert first.until(last) == everything
        for start, one in late:
            assert one.until(last) == everything[start:]
        assert seen_slowly + _rest(slow, last) == everything
        wanted = [event for event in everything if event.type == pb.EVENT_TYPE_ALIAS_REMOVED]
        assert filtered.until(wanted[-1].sequence) == wanted


@pytest.mark.parametrize("starts", [(0, None, 2)])
def test_watches_from_different_sequences_share_later_reads(
    any_live_server: LiveServer, starts: Sequence[int | None]
) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    log(stubs, project)
    for round_ in range(3):  # the last watch ends in between, and with it what they shared
        last = len(listed(stubs, project))
        with contextlib.ExitStack() as stack:
            watches = [stack.enter_context(watching(stubs, project, after_sequence=at)) for at in starts]
            for watch in watches:
                watch.until(last)
            for number in range(5):
                touch(stubs, project, f"{round_}-{number}")
            expected = listed(stubs, project)[last:]
            for watch in watches:
                assert watch.until(last + 5) == expected
