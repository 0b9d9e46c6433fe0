"""Attempts of runs over the wire, on both databases: each keeps what is its own."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.v1 import event_pb2, metric_pb2
from modelyard.v1 import run_pb2 as pb
from modelyard_server.rpc.wire.convert import python_to_value, python_to_values, values_to_python
from tests.clients.refusals import refused
from tests.parts.server import LiveServer, Stubs, new_project


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def create(stubs: Stubs, project: str, resume: Any = pb.RESUME_POLICY_NEW_ATTEMPT, **run: Any) -> Any:
    for part in ("config", "summary", "metadata"):
        run[part] = python_to_values(run.get(part, {}))
    return stubs.runs.CreateRun(
        pb.CreateRunRequest(run=pb.Run(project=project, name="r", **run), resume=resume)
    )


def get(stubs: Stubs, run: pb.Run, attempt: int | None = None) -> pb.Run:
    found: pb.Run = stubs.runs.GetRun(pb.GetRunRequest(id=run.id, attempt=attempt)).run
    return found


def log(
    stubs: Stubs, run: pb.Run, step: int, value: float, attempt: int | None = None, sequence: int = 1
) -> Any:
    batch = metric_pb2.MetricBatch(
        steps=[step], timestamps=[1.0], columns=[metric_pb2.MetricColumn(key="loss", doubles=[value])]
    )
    return stubs.metrics.LogMetrics(
        metric_pb2.LogMetricsRequest(
            run_id=run.id, writer="rank0", sequence=sequence, batch=batch, attempt=attempt
        )
    )


def rows(stubs: Stubs, run: pb.Run, attempt: int | None = None) -> list[tuple[int, float]]:
    replies = stubs.metrics.ScanMetricHistory(
        metric_pb2.ScanMetricHistoryRequest(run_id=run.id, attempt=attempt)
    )
    return [
        (step, value)
        for reply in replies
        for step, value in zip(reply.batch.steps, reply.batch.columns[0].doubles, strict=True)
    ]


def attempts(stubs: Stubs, run: pb.Run, **request: Any) -> Any:
    return stubs.runs.ListRunAttempts(pb.ListRunAttemptsRequest(id=run.id, **request))


def test_a_run_that_is_not_there_is_made_as_its_first_attempt(stubs: Stubs) -> None:
    reply = create(stubs, new_project(), config={"lr": 0.1})
    assert (reply.run.attempt, reply.resumed) == (1, False)
    assert list(attempts(stubs, reply.run).runs) == [get(stubs, reply.run)]


def test_a_new_attempt_has_nothing_of_the_one_before_and_leaves_it_readable(stubs: Stubs) -> None:
    project = new_project()
    first = create(
        stubs, project, config={"lr": 0.1, "old": 1}, metadata={"host": "a"}, notes="n", tags=["t"], group="g"
    ).run
    log(stubs, first, 7, 0.5)
    ended = stubs.runs.FinishRun(pb.FinishRunRequest(id=first.id, exit_code=3)).run
    reply = create(stubs, project, config={"lr": 0.2})
    second = reply.run
    assert (second.id, second.name, second.attempt, reply.resumed) == (first.id, "r", 2, False)
    assert values_to_python(second.config, "config") == {"lr": 0.2}
    assert (len(second.summary), len(second.metadata)) == (0, 0)
    assert (second.state, second.HasField("exit_code")) == (pb.RUN_STATE_RUNNING, False)
    assert not second.HasField("finish_time")
    assert not second.HasField("last_step")
    assert second.create_time.ToMicroseconds() > ended.finish_time.ToMicroseconds()
    assert (second.notes, list(second.tags), second.group) == ("n", ["t"], "g")
    assert second.display_name == first.display_name
    assert rows(stubs, second) == []
    log(stubs, second, 1, 0.25)
    assert get(stubs, second, 1) == ended
    assert stubs.runs.GetRun(pb.GetRunRequest(ref=f"{project}/r", attempt=1)).run == ended
    assert rows(stubs, second, 1) == [(7, 0.5)]
    assert rows(stubs, second) == rows(stubs, second, 2) == [(1, 0.25)]


def test_an_attempt_that_was_running_counts_as_crashed(stubs: Stubs) -> None:
    project = new_project()
    first = create(stubs, project, notes="old", tags=["a"]).run
    create(stubs, project, notes="new", tags=["b"])
    kept = get(stubs, first, 1)
    assert (kept.state, kept.notes, list(kept.tags)) == (pb.RUN_STATE_CRASHED, "old", ["a"])
    assert get(stubs, first).state == pb.RUN_STATE_RUNNING


def test_a_process_of_an_earlier_attempt_changes_only_what_is_kept_of_it(stubs: Stubs) -> None:
    project = new_project()
    first = create(stubs, project).run
    log(stubs, first, 1, 0.5, attempt=1)
    second = create(stubs, project, summary={"loss": 9}).run
    before = get(stubs, second)
    log(stubs, first, 2, 0.4, attempt=1, sequence=2)
    assert log(stubs, first, 2, 0.4, attempt=1, sequence=2).duplicate
    with refused("RUN_FINISHED"):
        stubs.runs.HeartbeatRun(pb.HeartbeatRunRequest(id=first.id, attempt=1))
    summary = python_to_values({"best": 0.4})
    ended = stubs.runs.FinishRun(pb.FinishRunRequest(id=first.id, attempt=1, summary=summary)).run
    assert (ended.attempt, ended.state, ended.last_step) == (1, pb.RUN_STATE_FINISHED, 2)
    assert values_to_python(ended.summary, "summary") == {"loss": 0.4, "best": 0.4}
    assert get(stubs, first, 1) == ended
    assert get(stubs, second) == before
    assert rows(stubs, first, 1) == [(1, 0.5), (2, 0.4)]
    assert rows(stubs, first) == []
    with refused("RUN_FINISHED"):  # it has ended itself now
        log(stubs, first, 3, 0.3, attempt=1, sequence=3)


def test_updates_of_an_earlier_attempt_change_only_what_is_kept_of_it(stubs: Stubs) -> None:
    project = new_project()
    first = create(stubs, project, config={"lr": 0.1}, notes="old", tags=["a"]).run
    second = create(stubs, project, config={"lr": 0.2}).run
    changed = pb.Run(id=first.id, notes="late", tags=["b"], config=python_to_values({"lr": 0.3}))
    request = pb.UpdateRunRequest(run=changed, attempt=1, config_keys=["lr"])
    request.update_mask.paths.extend(["notes", "tags"])
    stored = stubs.runs.UpdateRun(request).run
    assert stored == get(stubs, first, 1)
    assert (stored.attempt, stored.notes, list(stored.tags)) == (1, "late", ["b"])
    assert values_to_python(stored.config, "config") == {"lr": 0.3}
    assert get(stubs, second) == second
    listing = pb.ListRunsRequest(project=project, filter='config.lr = 0.3 OR tags : "b"')
    assert not stubs.runs.ListRuns(listing).runs
    request.run.etag = first.etag
    with refused("ETAG_MISMATCH"):
        stubs.runs.UpdateRun(request)


def test_the_same_writer_may_count_from_one_in_each_attempt(stubs: Stubs) -> None:
    project = new_project()
    first = create(stubs, project).run
    log(stubs, first, 1, 0.5)
    second = create(stubs, project).run
    assert not log(stubs, second, 1, 0.6).duplicate
    assert log(stubs, second, 1, 0.6).duplicate
    assert (rows(stubs, first, 1), rows(stubs, first, 2)) == ([(1, 0.5)], [(1, 0.6)])


def test_filters_find_the_latest_attempt_alone(stubs: Stubs) -> None:
    project = new_project()
    first = create(stubs, project, config={"lr": 0.1, "old": "x" * 300}, tags=["a"]).run
    log(stubs, first, 1, 0.5)
    create(stubs, project, config={"lr": 0.2})

    def found(filter_: str) -> int:
        return len(stubs.runs.ListRuns(pb.ListRunsRequest(project=project, filter=filter_)).runs)

    assert [found(f"config.lr = {lr}") for lr in (0.1, 0.2)] == [0, 1]
    assert [found("summary.loss : *"), found('config.old : "xx"'), found('tags : "a"')] == [0, 0, 1]
    log(stubs, first, 2, 0.1, attempt=1, sequence=2)
    assert found("summary.loss : *") == found("summary.loss = 0.1") == 0


def test_watchers_see_a_new_attempt(stubs: Stubs) -> None:
    project = new_project()
    run = create(stubs, project).run
    create(stubs, project)
    events = stubs.events.ListEvents(event_pb2.ListEventsRequest(project=project)).events
    assert [(event.run_id, event.run_state) for event in events] == [(run.id, pb.RUN_STATE_RUNNING)] * 2


def test_an_update_that_is_based_on_an_earlier_attempt_is_refused(stubs: Stubs) -> None:
    project = new_project()
    first = create(stubs, project).run
    create(stubs, project)
    changed = pb.Run(id=first.id, etag=first.etag, config={"lr": python_to_value(1)})
    with refused("ETAG_MISMATCH"):
        stubs.runs.UpdateRun(pb.UpdateRunRequest(run=changed, config_keys=["lr"]))


def test_resuming_goes_on_with_the_latest_attempt(stubs: Stubs) -> None:
    project = new_project()
    create(stubs, project, config={"a": 1})
    create(stubs, project, config={"b": 2})
    reply = create(stubs, project, pb.RESUME_POLICY_MUST, config={"c": 3})
    assert (reply.resumed, reply.run.attempt) == (True, 2)
    assert values_to_python(reply.run.config, "config") == {"b": 2, "c": 3}


def test_attempts_come_in_pages_latest_first(stubs: Stubs) -> None:
    project = new_project()
    for number in range(5):
        run = create(stubs, project, config={"n": number}).run
    seen, token = [], ""
    while True:
        page = attempts(stubs, run, page_size=2, page_token=token)
        seen.append([(each.attempt, each.config["n"].int_value) for each in page.runs])
        token = page.next_page_token
        if not token:
            break
    assert seen == [[(5, 4), (4, 3)], [(3, 2), (2, 1)], [(1, 0)]]
    with refused("INVALID_PAGE_TOKEN"):
        attempts(stubs, create(stubs, new_project()).run, page_size=2, page_token="x")


def test_a_page_of_large_attempts_fits_a_message(stubs: Stubs) -> None:
    project = new_project()
    for number in range(3):
        run = create(stubs, project, config={"n": number, "text": "x" * 1_000_000, "more": "y" * 900_000}).run
    first = attempts(stubs, run)
    assert [each.attempt for each in first.runs] == [3]
    assert [each.attempt for each in attempts(stubs, run, page_token=first.next_page_token).runs] == [2]


@pytest.mark.parametrize(
    ("attempt", "reason"), [(0, "INVALID_FIELD"), (-1, "INVALID_FIELD"), (2, "NOT_FOUND")]
)
def test_an_attempt_that_is_none_is_refused(stubs: Stubs, attempt: int, reason: str) -> None:
    run = create(stubs, new_project()).run
    calls = [
        lambda: get(stubs, run, attempt),
        lambda: rows(stubs, run, attempt),
        lambda: log(stubs, run, 1, 0.5, attempt),
        lambda: stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id, attempt=attempt)),
        lambda: stubs.runs.HeartbeatRun(pb.HeartbeatRunRequest(id=run.id, attempt=attempt)),
        lambda: stubs.runs.UpdateRun(
            pb.UpdateRunRequest(run=pb.Run(id=run.id), attempt=attempt, config_keys=["a"])
        ),
    ]
    for call in calls:
        with refused(reason):
            call()


def test_a_deleted_run_takes_all_attempts_with_it(stubs: Stubs) -> None:
    project = new_project()
    run = create(stubs, project).run
    create(stubs, project)
    stubs.runs.DeleteRun(pb.DeleteRunRequest(id=run.id))
    for attempt in (1, 2):
        with refused("NOT_FOUND"):
            get(stubs, run, attempt)
    with refused("NOT_FOUND"):
        attempts(stubs, run)
    with refused("ALREADY_EXISTS"):
        create(stubs, project)
