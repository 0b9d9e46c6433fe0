"""Watches that break: killed and drained servers, replicas that come and go, revoked keys."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from sqlalchemy import Engine, event

from modelyard.v1 import event_pb2 as pb
from modelyard_server.db.engine import Database
from modelyard_server.rpc.dispatch.admission import ActiveCalls
from modelyard_server.rpc.dispatch.auth import Authenticator
from modelyard_server.rpc.dispatch.executors import Executors
from modelyard_server.rpc.dispatch.pipeline import Pipeline
from modelyard_server.rpc.dispatch.stream_limits import StreamLimit
from modelyard_server.rpc.dispatch.transactions import Transactions
from modelyard_server.rpc.services.events import EventServicer
from modelyard_server.rpc.services.watching.event_wakeups import EventSignals
from tests.clients.refusals import refused
from tests.clients.watch import WAIT_SECONDS, listed, log, touch, watching
from tests.inprocess.databases import sqlite_database
from tests.inprocess.registry import ENTITY, Registry
from tests.parts.server import Factory, LiveServer, production_place, run_server_command


class Consumer:
    """Watches for ever: after any break it connects again with the last sequence it saw."""

    def __init__(self, servers: list[LiveServer], project: str) -> None:
        self.servers, self.project = servers, project
        self.seen: list[pb.Event] = []
        self.breaks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._consume, daemon=True)
        self._thread.start()

    def finish(self, sequence: int) -> list[pb.Event]:
        deadline = time.monotonic() + WAIT_SECONDS
        while (self.seen[-1].sequence if self.seen else 0) < sequence and time.monotonic() < deadline:
            time.sleep(0.02)
        self._over.set()
        return self.seen

    def _consume(self) -> None:
        last = 0
        while not self._over.is_set():
            # A different replica each time, as behind a balancer.
            server = self.servers[self.breaks % len(self.servers)]
            stubs = server.stubs()
            try:
                for reply in stubs.events.WatchEvents(
                    pb.WatchEventsRequest(project=self.project, after_sequence=last)
                ):
                    self.seen += reply.events
                    last = reply.last_sequence
                    if self._over.is_set():
                        break
            except grpc.RpcError:
                self.breaks += 1
                time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_consumer_misses_nothing_and_sees_nothing_twice_across_restarts(
    live_server_factory: Factory, how: signal.Signals
) -> None:
    server = live_server_factory().start()
    log(server.stubs(), "p")
    consumer = Consumer([server], "p")
    for restart in range(3):
        for number in range(10):
            touch(server.stubs(), "p", f"a{restart}-{number}")
        server.send(how)
        server.wait()
        server.start()
    touch(server.stubs(), "p", "last")
    everything = listed(server.stubs(), "p")
    assert consumer.finish(len(everything)) == everything
    assert consumer.breaks >= 3


def test_a_watch_ends_at_once_when_the_server_drains(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    stubs = server.stubs()
    log(stubs, "p")
    with watching(stubs, "p") as watch:
        watch.next()
        server.send(signal.SIGTERM)
        refusal = watch.end()
        assert refusal.reason == "SERVER_STOPPING"
        assert refusal.retry
        assert server.wait(seconds=15) == 0  # and not after the 30 s that calls have to end


def test_watches_deliver_events_of_other_replicas_in_order(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)
    one = live_server_factory(place=place, env=env).start()
    other = live_server_factory(place=place, env=env).start()
    log(one.stubs(), "p")
    consumer = Consumer([other, one], "p")
    with watching(other.stubs(), "p") as watch:
        for number in range(30):
            touch((one if number % 3 else other).stubs(), "p", f"a{number}")
        seen = watch.until(len(listed(one.stubs(), "p")))
        touch(one.stubs(), "p", "only here")  # nothing in its own process wakes the watcher
        everything = listed(one.stubs(), "p")
        assert seen + watch.until(len(everything)) == everything
    other.kill()
    for number in range(10):
        touch(one.stubs(), "p", f"b{number}")
    everything = listed(one.stubs(), "p")
    assert consumer.finish(len(everything)) == everything
    assert consumer.breaks >= 1


def test_a_watch_of_an_entity_tells_what_another_replica_wrote(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)
    one = live_server_factory(place=place, env=env).start()
    other = live_server_factory(place=place, env=env).start()
    log(one.stubs(), "p")
    with watching(other.stubs(), "", after_sequence=None) as watch:
        watch.next()
        for project in ("p", "later"):
            last = len(listed(one.stubs(), project)) if project == "p" else 0
            log(one.stubs(), project, "other")  # nothing in its own process wakes the watcher
            wanted = listed(one.stubs(), project)[last:]
            seen: list[pb.Event] = []
            while len(seen) < len(wanted):
                seen += watch.next().events
            assert seen == wanted
        # Both replicas write, so that the watcher reads some projects at once and all of them later.
        for number in range(10):
            for server in (one, other):
                touch(server.stubs(), "p", f"{number}-{server.port}")
        seen = []
        while len(seen) < 20:
            seen += watch.next().events
        assert seen == listed(one.stubs(), "p")[-20:]


def test_an_open_watch_keeps_an_embedded_server(live_server_factory: Factory) -> None:
    server = live_server_factory("--embedded", "--idle-seconds", "1").start()
    stubs = server.stubs()
    log(stubs, "p")
    with watching(stubs, "p") as watch:
        watch.next()
        time.sleep(3)
        assert server.exit_code is None
        touch(stubs, "p", "still here")
        assert [event.alias for event in watch.next().events] == ["still here"]
    assert server.wait(seconds=20) == 0


def test_a_watch_ends_when_its_key_is_revoked(live_server_factory: Factory) -> None:
    server = live_server_factory()
    made = run_server_command("key", "create", "watcher", "--all-entities", *server.place)
    key = made.stdout.split()[-1]
    server.start()
    owner = server.stubs()
    log(owner, "p")
    with watching(server.stubs(key), "p", entity="local") as watch:
        watch.next()
        key_id = run_server_command("key", "ls", *server.place).stdout.split()[0]
        assert run_server_command("key", "revoke", key_id, *server.place).returncode == 0
        time.sleep(5.5)  # how long a server trusts a key that it looked up
        touch(owner, "p", "secret")
        assert watch.end().reason == "KEY_INVALID"


def test_more_watches_than_the_server_takes_are_refused_with_a_delay(live_server_factory: Factory) -> None:
    stubs = live_server_factory().start().stubs()
    log(stubs, "p")
    open_ = [
        stubs.events.WatchEvents(pb.WatchEventsRequest(project="p", after_sequence=0)) for _ in range(256)
    ]
    for call in open_:
        next(call)
    with refused("TOO_MANY_STREAMS") as refusal:
        next(stubs.events.WatchEvents(pb.WatchEventsRequest(project="p", after_sequence=0)))
    assert refusal.retry
    open_.pop().cancel()
    _eventually(
        lambda: (
            next(stubs.events.WatchEvents(pb.WatchEventsRequest(project="p", after_sequence=0))).last_sequence
            > 0
        )
    )
    assert len(listed(stubs, "p")) > 0


def _eventually(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with contextlib.suppress(grpc.RpcError):
            if happens():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_quiet_watch_sends_keepalive_messages(tmp_path: Path) -> None:
    with sqlite_database(tmp_path) as database:
        Registry(database).log("bert", "a")
        request = pb.WatchEventsRequest(entity=ENTITY, project="p", after_sequence=0)
        replies = asyncio.run(_watch_quietly(database, request))
    assert [len(reply.events) for reply in replies] == [3, 0, 0]
    assert {reply.last_sequence for reply in replies} == {3}


def test_a_quiet_watch_of_an_entity_sends_its_positions(tmp_path: Path) -> None:
    with sqlite_database(tmp_path) as database:
        Registry(database).log("bert", "a")
        request = pb.WatchEventsRequest(entity=ENTITY, after_sequence=0, filter='alias = "nobody"')
        replies = asyncio.run(_watch_quietly(database, request))
    told = [[(each.project, each.last_sequence) for each in reply.positions] for reply in replies]
    assert told == [[], [("p", 3)], []]
    assert all(reply.positions_complete for reply in replies)
    assert not any(reply.events for reply in replies)


def test_a_watch_that_waits_for_a_project_asks_for_nothing_else(tmp_path: Path) -> None:
    asked: set[str] = set()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM project" in statement:
            asked.add(statement)

    with sqlite_database(tmp_path) as database:
        for number in range(3):
            Registry(database).log("bert", "a", project=f"later-{number}")
        event.listen(Engine, "before_cursor_execute", note)
        try:
            request = pb.WatchEventsRequest(entity=ENTITY, project="later")
            replies = asyncio.run(_watch_quietly(database, request))
        finally:
            event.remove(Engine, "before_cursor_execute", note)
    assert not any(reply.events or reply.HasField("last_sequence") for reply in replies)
    # How much the entity's projects have, and their positions; none that looks for similar names.
    assert len(asked) <= 3, asked
    assert not any("LIKE" in statement for statement in asked)


async def _watch_quietly(database: Database, request: pb.WatchEventsRequest) -> list[pb.WatchEventsResponse]:
    """The first three replies of a server that sends one every 0.2 s when nothing happens."""
    executors, active_calls = Executors(is_sqlite=True), ActiveCalls()
    transactions = Transactions(database, executors)
    events = EventServicer(EventSignals(transactions, active_calls), StreamLimit(1), idle_seconds=0.2)
    pipeline = Pipeline(
        {"modelyard.v1.EventService": events},
        transactions,
        Authenticator(transactions),
        active_calls,
        decoding=executors.decoding,
        stall_seconds=30,
    )
    endpoint = pipeline.endpoints["/modelyard.v1.EventService/WatchEvents"]
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    caller = await pipeline.admit(endpoint.name, ())
    watch = asyncio.create_task(pipeline.stream(endpoint, caller, request, arrived.put))
    replies = [pb.WatchEventsResponse.FromString(await arrived.get()) for _ in range(3)]
    watch.cancel()
    await asyncio.wait([watch])
    executors.close()
    return replies
