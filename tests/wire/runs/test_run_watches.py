"""Watches of runs over the wire, on both databases."""

from __future__ import annotations

import asyncio
import functools
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from modelyard.v1 import metric_pb2
from modelyard.v1 import run_pb2 as pb
from modelyard_server.db.engine import Database
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.runs import metrics, runs
from modelyard_server.domain.runs.runs import RunSpec
from modelyard_server.rpc.dispatch.admission import ActiveCalls
from modelyard_server.rpc.dispatch.auth import Authenticator
from modelyard_server.rpc.dispatch.executors import Executors
from modelyard_server.rpc.dispatch.pipeline import Pipeline
from modelyard_server.rpc.dispatch.stream_limits import StreamLimit
from modelyard_server.rpc.dispatch.transactions import Transactions
from modelyard_server.rpc.services.runs import RunServicer
from modelyard_server.rpc.services.watching.run_feeds import RunFeeds
from modelyard_server.rpc.wire.convert import python_to_value, values_to_python
from tests.clients.refusals import refused
from tests.clients.run_watch import Consumer, Seen, log_lines, log_rows, watching
from tests.inprocess.databases import sqlite_database
from tests.inprocess.registry import ENTITY, Registry
from tests.parts.server import (
    Factory,
    LiveServer,
    Stubs,
    create_key,
    new_project,
    production_place,
    run_server_command,
)
from tests.server.observability.test_telemetry import Samples, addresses, scrape

WATCHERS, BATCHES = 40, 20


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def make(stubs: Stubs, resume: Any = pb.RESUME_POLICY_NEVER, **run: Any) -> pb.Run:
    run.setdefault("project", new_project())
    made: pb.Run = stubs.runs.CreateRun(pb.CreateRunRequest(run=pb.Run(**run), resume=resume)).run
    return made


def finish(stubs: Stubs, run: pb.Run, exit_code: int = 0) -> None:
    stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id, exit_code=exit_code))


def test_a_watch_sends_the_rows_from_a_step_on_and_then_each_as_it_comes(stubs: Stubs) -> None:
    run = make(stubs)
    log_rows(stubs, run.id, 1, range(10))
    log_rows(stubs, run.id, 2, range(10, 20))
    with watching(stubs, run.id, min_step=15) as watch:
        seen = watch.seen[run.id]
        watch.until(lambda: len(seen.steps) == 5)
        log_rows(stubs, run.id, 3, range(20, 25))
        log_rows(stubs, run.id, 1, [3, 17], writer="late", late=True)
        watch.until(lambda: len(seen.steps) == 11)
    assert seen.steps == [*range(15, 25), 17]
    assert seen.runs[0].id == run.id
    assert not [*seen.lines, *seen.system]


def test_a_watch_sends_what_it_was_asked_for(stubs: Stubs) -> None:
    run = make(stubs)
    with ExitStack() as stack:
        asked: list[dict[str, Any]] = [
            {"history": True}, {"system": True}, {"console": True}, {"history": True, "keys": ["b"]},
            {"history": True, "system": True, "console": True},
        ]  # fmt: skip
        watches = [stack.enter_context(watching(stubs, run.id, **each)) for each in asked]
        log_rows(stubs, run.id, 1, [1, 2])
        log_rows(stubs, run.id, 2, [3, 4], stream=metric_pb2.METRIC_STREAM_SYSTEM)
        log_lines(stubs, run.id, 1, {1: "x", 2: "y"})
        log_rows(stubs, run.id, 3, [5], key="b")
        finish(stubs, run)
        history, system, console, of_b, everything = (watch.seen[run.id] for watch in watches)
        for watch in watches:
            seen = watch.seen[run.id]
            watch.until(lambda: seen.runs and seen.runs[-1].state == pb.RUN_STATE_FINISHED)  # noqa: B023
        assert (history.steps, system.system) == ([1, 2, 5], [3, 4])
        assert [line.text for line in console.lines] == ["x", "y"]
        assert of_b.rows == [(1, "b", 5.0)]
        assert (everything.steps, everything.system, len(everything.lines)) == ([1, 2, 5], [3, 4], 2)
        for seen in (system, console):
            assert not seen.steps


def test_rows_reach_a_watch_within_a_second(stubs: Stubs) -> None:
    run = make(stubs)
    with watching(stubs, run.id) as watch:
        seen, took = watch.seen[run.id], []
        watch.until(lambda: seen.runs)
        for step in range(10):
            began = time.monotonic()
            log_rows(stubs, run.id, step + 1, [step])
            watch.until(lambda: len(seen.steps) > step)  # noqa: B023
            took.append(time.monotonic() - began)
    assert sorted(took)[5] < 1


def test_changes_of_a_run_reach_a_watch(stubs: Stubs) -> None:
    run = make(stubs, name="r")
    with watching(stubs, run.id) as watch:
        runs = watch.seen[run.id].runs
        watch.until(lambda: runs)
        change = pb.Run(id=run.id, display_name="new", config={"lr": python_to_value(0.1)})
        stubs.runs.UpdateRun(
            pb.UpdateRunRequest(run=change, update_mask={"paths": ["display_name", "config"]})
        )
        watch.until(lambda: runs[-1].display_name == "new")
        assert values_to_python(runs[-1].config, "config") == {"lr": 0.1}
        log_rows(stubs, run.id, 1, [7])
        watch.until(lambda: values_to_python(runs[-1].summary, "summary") == {"a": 7.0})
        finish(stubs, run, exit_code=3)
        watch.until(lambda: runs[-1].state == pb.RUN_STATE_FAILED)
        assert runs[-1].exit_code == 3
        make(stubs, pb.RESUME_POLICY_MUST, project=run.project, name="r")
        watch.until(lambda: runs[-1].state == pb.RUN_STATE_RUNNING)


def test_heartbeats_alone_are_no_news(stubs: Stubs) -> None:
    run = make(stubs)
    with watching(stubs, run.id) as watch:
        runs = watch.seen[run.id].runs
        watch.until(lambda: runs)
        for _ in range(3):
            stubs.runs.HeartbeatRun(pb.HeartbeatRunRequest(id=run.id))
            time.sleep(0.5)  # longer than between two looks
        finish(stubs, run)
        watch.until(lambda: runs[-1].state == pb.RUN_STATE_FINISHED)
    assert len(runs) == 2


def test_a_new_attempt_follows_the_rows_of_the_one_before(stubs: Stubs) -> None:
    run = make(stubs, name="r")
    log_rows(stubs, run.id, 1, [0, 1])
    with watching(stubs, run.id) as watch:
        seen = watch.seen[run.id]
        watch.until(lambda: len(seen.rows) == 2)
    log_rows(stubs, run.id, 2, [2])
    make(stubs, pb.RESUME_POLICY_NEW_ATTEMPT, project=run.project, name="r")
    log_rows(stubs, run.id, 1, [0])
    with watching(stubs, run.id, positions=[seen.position]) as watch:
        later = watch.seen[run.id]
        watch.until(lambda: len(later.rows) == 2)
        make(stubs, pb.RESUME_POLICY_NEW_ATTEMPT, project=run.project, name="r")
        log_rows(stubs, run.id, 1, [5])
        watch.until(lambda: len(later.rows) == 3)
    assert later.rows == [(1, "a", 2.0), (2, "a", 0.0), (3, "a", 5.0)]
    with watching(stubs, run.id) as watch:  # without a position, the latest attempt
        watch.until(lambda: watch.seen[run.id].rows)
        assert watch.seen[run.id].rows == [(3, "a", 5.0)]


def test_lines_that_are_replaced_come_again(stubs: Stubs) -> None:
    run = make(stubs)
    log_lines(stubs, run.id, 1, {1: "begin", 2: "1%"})
    with watching(stubs, run.id, console=True) as watch:
        lines = watch.seen[run.id].lines
        watch.until(lambda: len(lines) == 2)
        log_lines(stubs, run.id, 2, {2: "50%", 3: "note"})
        watch.until(lambda: len(lines) == 4)
        position = watch.seen[run.id].position
    assert [(line.number, line.text) for line in lines] == [(1, "begin"), (2, "1%"), (2, "50%"), (3, "note")]
    log_lines(stubs, run.id, 3, {2: "100%"})
    with watching(stubs, run.id, positions=[position], console=True) as watch:
        watch.until(lambda: watch.seen[run.id].lines)
        assert [line.text for line in watch.seen[run.id].lines] == ["100%"]


def test_a_watch_goes_on_from_its_position_with_nothing_twice_and_nothing_missed(stubs: Stubs) -> None:
    run = make(stubs)
    sent = iter(range(1, 10_000))
    over = threading.Event()

    def write(writer: str) -> None:
        while not over.is_set():
            log_rows(stubs, run.id, next(sent), [next(sent)], writer=writer)

    writers = [threading.Thread(target=write, args=(name,)) for name in ("one", "two")]
    for writer in writers:
        writer.start()
    found = Seen()
    for _ in range(8):
        positions = [found.position]
        with watching(stubs, run.id, positions=positions) as watch:
            seen = watch.seen[run.id]
            watch.until(lambda: len(seen.steps) > 5)  # noqa: B023
        for message in watch.messages:
            found.add(message)
    over.set()
    for writer in writers:
        writer.join()
    with watching(stubs, run.id, positions=[found.position]) as watch:
        finish(stubs, run)
        watch.until(
            lambda: (
                watch.seen[run.id].runs[-1:] and watch.seen[run.id].runs[-1].state == pb.RUN_STATE_FINISHED
            )
        )
    for message in watch.messages:
        found.add(message)
    request = metric_pb2.ScanMetricHistoryRequest(run_id=run.id)
    stored = [step for reply in stubs.metrics.ScanMetricHistory(request) for step in reply.batch.steps]
    assert sorted(found.steps) == sorted(stored)
    assert len(set(found.steps)) == len(found.steps) > 40


def test_many_runs_are_watched_at_once_and_a_deleted_one_ends(stubs: Stubs) -> None:
    project = new_project()
    runs = [make(stubs, project=project) for _ in range(20)]
    with watching(stubs, *(run.id for run in runs)) as watch:
        for number, run in enumerate(runs):
            log_rows(stubs, run.id, 1, [number])
        watch.until(lambda: all(seen.steps for seen in watch.seen.values()))
        assert [watch.seen[run.id].steps for run in runs] == [[number] for number in range(20)]
        gone = runs[4]
        stubs.runs.DeleteRun(pb.DeleteRunRequest(id=gone.id))
        watch.until(lambda: watch.seen[gone.id].deleted)
        log_rows(stubs, runs[5].id, 2, [50])
        watch.until(lambda: watch.seen[runs[5].id].steps == [5, 50])
        position = watch.seen[gone.id].position
    with watching(stubs, gone.id, positions=[position]) as watch:
        watch.until(lambda: watch.seen[gone.id].deleted)
        assert [message.deleted for message in watch.messages] == [True]
    with refused("NOT_FOUND"), watching(stubs, gone.id) as watch:
        watch.until(lambda: watch.error)
        assert watch.error is not None
        raise watch.error


def test_large_batches_come_in_messages_of_their_own(stubs: Stubs) -> None:
    config = {str(number): python_to_value("x" * 900_000) for number in range(3)}
    run = make(stubs, config=config)
    for sequence in range(4):
        log_rows(stubs, run.id, sequence + 1, range(sequence * 90_000, sequence * 90_000 + 90_000))
    log_lines(stubs, run.id, 1, dict.fromkeys(range(1, 180), "x" * 16000))
    with watching(stubs, run.id, history=True, console=True) as watch:
        seen = watch.seen[run.id]
        watch.until(lambda: len(seen.steps) == 360_000 and len(seen.lines) == 179)
    assert seen.steps == [*range(360_000)]
    assert len(watch.messages) > 3
    sent = Seen()
    for message in watch.messages[:-1]:
        # A break after any of them costs nothing and repeats nothing.
        sent.add(message)
        rest = seen.steps[len(sent.steps) :], seen.lines[len(sent.lines) :]
        with watching(stubs, run.id, positions=[message.position], history=True, console=True) as again:
            later = again.seen[run.id]
            again.until(lambda: (later.steps, later.lines) == rest)  # noqa: B023


def test_large_summaries_are_sent_less_often_than_rows(stubs: Stubs) -> None:
    summary = {f"k{number}": python_to_value("x" * 100) for number in range(10_000)}
    run = make(stubs, summary=summary)
    with watching(stubs, run.id) as watch:
        seen = watch.seen[run.id]
        watch.until(lambda: seen.runs)
        for step in range(20):
            log_rows(stubs, run.id, step + 1, [step])
            watch.until(lambda: len(seen.steps) > step)  # noqa: B023
        finish(stubs, run)
        watch.until(lambda: seen.runs[-1].state == pb.RUN_STATE_FINISHED)
    assert len(seen.runs) < 10
    assert values_to_python(seen.runs[-1].summary, "summary")["a"] == 19.0


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({}, "runs"),
        ({"runs": [{"run_id": "x"}]}, "runs[0].run_id"),
        ({"runs": [{}, {}]}, "runs[1].run_id"),
        ({"runs": [{"min_step": -1}]}, "runs[0].min_step"),
        ({"runs": [{"position": "1"}]}, "runs[0].position"),
        ({"runs": [{"position": "2.0.0"}]}, "runs[0].position"),
        ({"runs": [{}], "keys": [str(number) for number in range(1_001)]}, "keys"),
    ],
)
def test_wrong_requests_are_refused_by_their_field(
    stubs: Stubs, request_: dict[str, Any], field: str
) -> None:
    run = make(stubs)
    runs = [{"run_id": run.id, **each} for each in request_.get("runs", ())]
    with refused("INVALID_FIELD") as refusal:
        next(iter(stubs.runs.WatchRuns(pb.WatchRunsRequest(**{**request_, "runs": runs}))))
    assert refusal.fields == [field]


def test_watches_are_limited_as_those_of_events_are(live_server_factory: Factory) -> None:
    server = live_server_factory("--watch-streams", "3").start()
    run = make(server.stubs())
    with ExitStack() as stack:
        for _ in range(3):
            watch = stack.enter_context(watching(server.stubs(), run.id))
            watch.until(lambda: watch.seen[run.id].runs)  # noqa: B023
        fourth = stack.enter_context(watching(server.stubs(), run.id))
        assert fourth.end().reason == "TOO_MANY_STREAMS"


def test_a_watch_ends_at_once_when_the_server_drains(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    run = make(server.stubs())
    with watching(server.stubs(), run.id) as watch:
        watch.until(lambda: watch.seen[run.id].runs)
        server.send(signal.SIGTERM)
        refusal = watch.end()
        assert (refusal.reason, refusal.retry) == ("SERVER_STOPPING", True)
        assert server.wait(seconds=15) == 0


def test_a_watch_ends_when_its_key_is_revoked(live_server_factory: Factory) -> None:
    server = live_server_factory()
    key = create_key(server, "watcher", "--entity", "local").split()[-1]
    server.start()
    owner = server.stubs()
    run = make(owner, entity="local")
    with watching(server.stubs(key), run.id) as watch:
        watch.until(lambda: watch.seen[run.id].runs)
        key_id = run_server_command("key", "ls", *server.place).stdout.split()[0]
        assert run_server_command("key", "revoke", key_id, *server.place).returncode == 0
        time.sleep(5.5)  # how long a server trusts a key that it looked up
        log_rows(owner, run.id, 1, [1])
        assert watch.end().reason == "KEY_INVALID"
        assert not watch.seen[run.id].steps


def test_rows_are_read_once_however_many_watch(live_server_factory: Factory) -> None:
    server = live_server_factory("--metrics-port", "0").start()
    stubs, (address,) = server.stubs(), addresses(server)
    run = make(stubs)
    with ExitStack() as stack:
        watches = [stack.enter_context(watching(stubs, run.id)) for _ in range(WATCHERS)]
        for watch in watches:
            watch.until(lambda: watch.seen[run.id].runs)  # noqa: B023
        before = _reads(scrape(address))
        for number in range(BATCHES):
            log_rows(stubs, run.id, number + 1, [number])
            for watch in watches:
                watch.until(lambda: len(watch.seen[run.id].steps) > number)  # noqa: B023
        # For each batch one finds it, one reads it and one reads the run; others look five times a second.
        assert _reads(scrape(address)) - before < WATCHERS * BATCHES / 4


def test_a_quiet_watch_gives_signs_of_life(tmp_path: Path) -> None:
    async def watch(database: Database, run_id: str) -> None:
        async with _served(database, idle_seconds=0.2, poll_seconds=60) as (transactions, watch):
            replies = watch(run_id)
            assert [(await anext(replies)).run_id for _ in range(3)] == [run_id, "", ""]
            await transactions.write(functools.partial(runs.delete, principal=LOCAL, run_id=run_id))
            while not (reply := await anext(replies)).deleted:
                assert not reply.run_id
            # A watch of no run that is left goes on until its caller ends it.
            assert [(await anext(replies)).run_id for _ in range(2)] == ["", ""]

    _on_a_run(tmp_path, watch)


def test_writes_of_the_same_server_wake_a_watch_without_a_poll(tmp_path: Path) -> None:
    async def watch(database: Database, run_id: str) -> None:
        async with _served(database, idle_seconds=60, poll_seconds=60) as (transactions, watch):
            replies = watch(run_id)
            await anext(replies)
            for sequence in range(1, 4):
                rows = metric_pb2.MetricBatch(steps=[sequence], timestamps=[1.0]).SerializeToString()
                batch = metrics.Batch("w", sequence, rows, sequence, sequence, 1, {"a": sequence})
                asked: dict[str, Any] = {"summarize": True, "summary": {}}
                await transactions.write(
                    functools.partial(metrics.log, principal=LOCAL, run_id=run_id, batch=batch, **asked)
                )
                reply = await asyncio.wait_for(anext(replies), 15)
                assert [list(rows.steps) for rows in reply.history] == [[sequence]]

    _on_a_run(tmp_path, watch)


def _on_a_run(folder: Path, scene: Callable[[Database, str], Coroutine[Any, Any, None]]) -> None:
    with sqlite_database(folder) as database:
        run_id = Registry(database).write(runs.create, RunSpec(entity=ENTITY, project="p"), "never")[0].run.id
        asyncio.run(scene(database, run_id))


@asynccontextmanager
async def _served(
    database: Database, *, idle_seconds: float, poll_seconds: float
) -> AsyncIterator[tuple[Transactions, Callable[[str], AsyncIterator[pb.WatchRunsResponse]]]]:
    """The transactions of a server in this process, and a watch of the rows of a run."""
    executors = Executors(is_sqlite=True)
    transactions, active_calls = Transactions(database, executors), ActiveCalls()
    feeds = RunFeeds(transactions, active_calls, poll_seconds)
    pipeline = Pipeline(
        {"modelyard.v1.RunService": RunServicer(feeds, StreamLimit(1), idle_seconds)},
        transactions,
        Authenticator(transactions),
        active_calls,
        decoding=executors.decoding,
        stall_seconds=30,
    )
    endpoint = pipeline.endpoints["/modelyard.v1.RunService/WatchRuns"]
    caller = await pipeline.admit(endpoint.name, ())
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    calls = []

    async def watch(run_id: str) -> AsyncIterator[pb.WatchRunsResponse]:
        request = pb.WatchRunsRequest(runs=[pb.WatchedRun(run_id=run_id)], history=True)
        calls.append(asyncio.create_task(pipeline.stream(endpoint, caller, request, arrived.put)))
        while True:
            yield pb.WatchRunsResponse.FromString(await arrived.get())

    try:
        yield transactions, watch
    finally:
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        executors.close()


def _reads(samples: Samples) -> float:
    return samples["modelyard_transaction_seconds_count", ("read",)]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_consumer_misses_nothing_and_sees_nothing_twice_across_restarts(
    live_server_factory: Factory, how: signal.Signals
) -> None:
    server = live_server_factory().start()
    run = make(server.stubs())
    consumer = Consumer([server], run.id)
    for restart in range(3):
        for number in range(10):
            step = restart * 10 + number
            log_rows(server.stubs(), run.id, step + 1, [step], writer="ab"[number % 2])
            log_lines(server.stubs(), run.id, step + 1, {step + 1: str(step)})
        server.send(how)
        server.wait()
        server.start()
    log_rows(server.stubs(), run.id, 1, [12], writer="late", late=True)
    seen = consumer.finish(lambda seen: len(seen.steps) == 31)
    assert seen.steps == [*range(30), 12]
    assert [line.text for line in seen.lines] == [str(step) for step in range(30)]
    assert consumer.breaks >= 3


def test_watches_see_what_other_replicas_write_in_order(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)
    one = live_server_factory(place=place, env=env).start()
    other = live_server_factory(place=place, env=env).start()
    run = make(one.stubs())
    consumer = Consumer([other, one], run.id)

    def write(server: LiveServer, writer: str) -> None:
        stubs = server.stubs()
        for step in range(100):
            log_rows(stubs, run.id, step + 1, [step], writer=writer)
            log_lines(stubs, run.id, step + 1, {step + 1: writer}, writer=writer)

    writers = [
        threading.Thread(target=write, args=(one, "a")),
        threading.Thread(target=write, args=(other, "b")),
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    other.kill()
    log_rows(one.stubs(), run.id, 101, [100], writer="a")
    seen = consumer.finish(lambda seen: len(seen.steps) >= 201)
    assert sorted(seen.steps) == sorted([*range(100), *range(100), 100])
    for writer in "ab":
        assert [line.number for line in seen.lines if line.writer == writer] == [*range(1, 101)]
