"""Lists of runs, and the events of a project, over the wire on both databases."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from modelyard.contract.values import RUN_STATES
from modelyard.v1 import event_pb2, model_artifact_pb2
from modelyard.v1 import run_pb2 as pb
from modelyard_server.domain import events as event_rules
from modelyard_server.rpc.wire.convert import python_to_value
from tests.clients.refusals import refused
from tests.parts.server import Factory, LiveServer, Stubs, new_project, reason


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def make(stubs: Stubs, **run: Any) -> pb.Run:
    made: pb.Run = stubs.runs.CreateRun(pb.CreateRunRequest(run=pb.Run(**run))).run
    return made


def finish(stubs: Stubs, run: pb.Run, exit_code: int = 0) -> None:
    stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id, exit_code=exit_code))


def listed(stubs: Stubs, project: str, **request: Any) -> list[str]:
    reply = stubs.runs.ListRuns(pb.ListRunsRequest(project=project, **request))
    return [run.name for run in reply.runs]


def test_pages_hold_every_run_once_newest_first(stubs: Stubs) -> None:
    project = new_project()
    for number in range(7):
        make(stubs, project=project, name=f"r{number}")
    seen, token = [], ""
    while True:
        page = stubs.runs.ListRuns(pb.ListRunsRequest(project=project, page_size=3, page_token=token))
        seen += [run.name for run in page.runs]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"r{number}" for number in reversed(range(7))]
    assert listed(stubs, project, order_by="name") == sorted(seen)


def test_a_token_of_another_query_is_refused(stubs: Stubs) -> None:
    project = new_project()
    for _ in range(2):
        make(stubs, project=project)
    token = stubs.runs.ListRuns(pb.ListRunsRequest(project=project, page_size=1)).next_page_token
    for request in (
        pb.ListRunsRequest(project=project, page_token=token, order_by="name"),
        pb.ListRunsRequest(project=project, page_token="x" + token),
    ):
        with pytest.raises(grpc.RpcError) as failure:
            stubs.runs.ListRuns(request)
        assert reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


def test_filters_look_into_state_tags_config_and_summary(stubs: Stubs) -> None:
    project = new_project()
    good = make(stubs, project=project, name="good", tags=["a"], summary={"acc": python_to_value(0.95)})
    finish(stubs, good)
    make(stubs, project=project, name="other", config={"lr": python_to_value(1)})
    assert listed(stubs, project, filter='state = "finished" AND summary.acc > 0.9') == ["good"]
    assert listed(stubs, project, filter='tags : "a"') == ["good"]
    assert listed(stubs, project, filter="config.lr = 1") == ["other"]
    assert listed(stubs, project, filter='state = "running"') == ["other"]
    with pytest.raises(grpc.RpcError) as failure:
        listed(stubs, project, filter="nope = 1")
    assert reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FILTER")


def test_pages_stay_below_the_limit_of_a_message(stubs: Stubs) -> None:
    project = new_project()
    big = {"text": python_to_value("x" * (900 << 10))}
    for number in range(6):
        make(stubs, project=project, name=f"r{number}", config=big)
    seen, token = [], ""
    while True:
        page = stubs.runs.ListRuns(pb.ListRunsRequest(project=project, page_token=token))
        seen += [run.name for run in page.runs]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"r{number}" for number in reversed(range(6))]


def test_a_read_mask_leaves_out_what_it_does_not_name(stubs: Stubs) -> None:
    project = new_project()
    values = {"lr": python_to_value(0.1), "a.b": python_to_value("x"), "text": python_to_value("x" * 900_000)}
    for number in range(8):
        make(stubs, project=project, name=f"r{number}", config=values, summary=values, tags=["t"], notes="n")

    def read(*paths: str) -> list[pb.Run]:
        mask = FieldMask(paths=paths)
        return list(stubs.runs.ListRuns(pb.ListRunsRequest(project=project, read_mask=mask)).runs)

    runs = read("state", "tags")
    assert len(runs) == 8, "a page is not cut for what it does not show"
    for run in runs:
        names = {field.name for field, _ in run.ListFields()}
        assert names == {"id", "name", "entity", "project", "state", "tags"}
    for run in read("config.lr", "config.a.b", "config.none"):
        assert dict(run.config) == {key: values[key] for key in ("lr", "a.b")}
        assert not run.summary
    (whole, *_) = read("summary.lr", "summary")
    assert dict(whole.summary) == values
    for wrong in ("nope", "config.", "notes.x", "state,tags", ""):
        with refused("INVALID_MASK", "read_mask"):
            read(wrong)


def test_a_total_counts_all_pages(stubs: Stubs) -> None:
    project = new_project()
    for number in range(5):
        make(stubs, project=project, tags=["odd"] if number % 2 else [])
    assert not stubs.runs.ListRuns(pb.ListRunsRequest(project=project)).HasField("total_size")
    for filter_, total in (("", 5), ('tags : "odd"', 2), ('tags : "none"', 0)):
        request = pb.ListRunsRequest(project=project, page_size=1, filter=filter_, count_total=True)
        reply = stubs.runs.ListRuns(request)
        assert (reply.HasField("total_size"), reply.total_size) == (True, total)
        if total:
            request.page_token = reply.next_page_token
            assert stubs.runs.ListRuns(request).total_size == total


def test_orders_by_a_key_put_runs_without_it_last(stubs: Stubs) -> None:
    project = new_project()
    for name, value in {"a": 2, "b": "text", "c": None, "d": 0.5, "e": "Text"}.items():
        summary = {} if value is None else {"x": python_to_value(value)}
        make(stubs, project=project, name=name, summary=summary)
    assert listed(stubs, project, order_by="summary.x") == list("daebc")
    assert listed(stubs, project, order_by="summary.x desc") == list("adbec")
    assert listed(stubs, project, order_by="config.x desc") == list("edcba")
    for wrong in ("summary.x, name", "summary", "metadata.x", "tags"):
        with refused("INVALID_FIELD", "order_by"):
            listed(stubs, project, order_by=wrong)


def test_runs_are_ordered_by_the_state_that_is_shown(stubs: Stubs) -> None:
    project = new_project()
    runs = [make(stubs, project=project, name=name) for name in "abcd"]
    finish(stubs, runs[2])
    finish(stubs, runs[0], exit_code=1)
    assert listed(stubs, project, order_by="state") == list("acbd")
    assert listed(stubs, project, order_by="state desc") == list("dbca")


def test_without_a_project_all_of_the_entity_are_listed(stubs: Stubs) -> None:
    entity = new_project()
    for project in ("a", "b"):
        make(stubs, entity=entity, project=project)
    reply = stubs.runs.ListRuns(pb.ListRunsRequest(entity=entity))
    assert sorted(run.project for run in reply.runs) == ["a", "b"]


def test_a_run_without_heartbeats_counts_as_crashed_until_it_sends_again(
    live_server_factory: Factory,
) -> None:
    server = live_server_factory().start()
    stubs = server.stubs()
    run = make(stubs, project="p", name="r")
    with sqlite3.connect(server.data / "modelyard.db") as database:
        database.execute("UPDATE run SET heartbeat_at = heartbeat_at - 301000000")
    database.close()
    assert stubs.runs.GetRun(pb.GetRunRequest(id=run.id)).run.state == pb.RUN_STATE_CRASHED
    assert listed(stubs, "p", filter='state = "crashed"') == ["r"]
    assert listed(stubs, "p", filter='state = "running"') == []
    (node,) = stubs.artifacts.GetLineage(model_artifact_pb2.GetLineageRequest(run_id=run.id)).runs
    assert node.state == pb.RUN_STATE_CRASHED
    stubs.runs.HeartbeatRun(pb.HeartbeatRunRequest(id=run.id))
    assert stubs.runs.GetRun(pb.GetRunRequest(id=run.id)).run.state == pb.RUN_STATE_RUNNING


def events(stubs: Stubs, project: str, **request: Any) -> event_pb2.ListEventsResponse:
    reply: event_pb2.ListEventsResponse = stubs.events.ListEvents(
        event_pb2.ListEventsRequest(project=project, **request)
    )
    return reply


def test_state_changes_are_events_numbered_without_gaps(stubs: Stubs) -> None:
    project = new_project()
    run = make(stubs, project=project)
    finish(stubs, run, exit_code=1)
    finish(stubs, run, exit_code=1)
    reply = events(stubs, project)
    assert [(event.sequence, event.run_state, event.run_id) for event in reply.events] == [
        (1, pb.RUN_STATE_RUNNING, run.id),
        (2, pb.RUN_STATE_FAILED, run.id),
    ]
    assert {event.type for event in reply.events} == {event_pb2.EVENT_TYPE_RUN_STATE}
    assert {(event.entity, event.project, event.principal) for event in reply.events} == {
        ("local", project, "local")
    }
    assert abs(reply.events[0].create_time.ToSeconds() - time.time()) < 600


def test_events_continue_after_a_sequence(stubs: Stubs) -> None:
    project = new_project()
    runs = [make(stubs, project=project) for _ in range(5)]
    for run in runs:
        finish(stubs, run)
    seen, after = [], 0
    while (reply := events(stubs, project, after_sequence=after, page_size=3)).events:
        seen += [event.sequence for event in reply.events]
        after = reply.last_sequence
    assert seen == list(range(1, 11))
    assert events(stubs, project, after_sequence=after).last_sequence == 10


def test_events_come_in_pages(stubs: Stubs) -> None:
    project = new_project()
    runs = [make(stubs, project=project) for _ in range(6)]
    finish(stubs, runs[0], exit_code=1)
    seen, asked = (
        [],
        event_pb2.ListEventsRequest(project=project, page_size=2, filter='run_state = "running"'),
    )
    while reply := stubs.events.ListEvents(asked):
        seen.append([event.sequence for event in reply.events])
        if not reply.next_page_token:
            break
        asked.page_token = reply.next_page_token
    assert seen == [[1, 2], [3, 4], [5, 6]]
    assert reply.last_sequence == 7
    asked.filter = ""
    with refused("INVALID_PAGE_TOKEN", "page_token"):
        stubs.events.ListEvents(asked)


@pytest.mark.parametrize("words", [("failed", "run_state"), ("RUN_STATE_FAILED", "EVENT_TYPE_RUN_STATE")])
def test_states_and_types_are_found_by_either_name(stubs: Stubs, words: tuple[str, str]) -> None:
    state, kind = words
    project = new_project()
    run, other = make(stubs, project=project), make(stubs, project=project)
    finish(stubs, run, exit_code=1)
    finish(stubs, other)
    listed = stubs.runs.ListRuns(pb.ListRunsRequest(project=project, filter=f'state = "{state}"')).runs
    assert [each.id for each in listed] == [run.id]
    found = events(stubs, project, filter=f'type = "{kind}" AND run_state = "{state}"').events
    assert [event.run_id for event in found] == [run.id]


def test_an_unknown_state_or_type_is_refused_at_its_place(stubs: Stubs) -> None:
    project = new_project()
    make(stubs, project=project)
    with refused("INVALID_FILTER", "filter") as refusal:
        stubs.runs.ListRuns(pb.ListRunsRequest(project=project, filter='state = "done"'))
    assert refusal.metadata["position"] == "9"
    with refused("INVALID_FILTER", "filter") as refusal:
        events(stubs, project, filter='run_id = "x" OR type = "alias_moved"')
    assert refusal.metadata["position"] == "24"


def test_the_words_of_filters_are_those_of_the_protos() -> None:
    for enum, words, prefix in (
        (event_pb2.EventType, event_rules.TYPES, event_rules.TYPE_PREFIX),
        (pb.RunState, RUN_STATES, event_rules.RUN_STATE_PREFIX),
    ):
        names = {name for name, number in enum.items() if number}
        assert {prefix + word.upper() for word in words} == names


def test_the_states_of_runs_are_in_the_order_of_the_proto() -> None:
    names = [event_rules.RUN_STATE_PREFIX + word.upper() for word in RUN_STATES]
    assert [pb.RunState.Value(name) for name in names] == list(range(1, len(pb.RunState.items())))


def test_a_page_of_filtered_events_has_the_last_sequence_read(stubs: Stubs) -> None:
    project = new_project()
    runs = [make(stubs, project=project) for _ in range(3)]
    only = events(stubs, project, filter=f'run_id = "{runs[1].id}" AND type = "run_state"')
    assert [event.sequence for event in only.events] == [2]
    assert only.last_sequence == 3
    none = events(stubs, project, filter='alias = "production"')
    assert (list(none.events), none.last_sequence) == ([], 3)


def test_events_of_an_unknown_project_are_not_found(stubs: Stubs) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        events(stubs, new_project())
    assert reason(failure) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


def test_keys_of_runs_are_named_as_filters_name_them(stubs: Stubs) -> None:
    project = new_project()
    for number in range(3):
        config = {
            "lr": 0.1 * number,
            "model": "bert",
            "on": number > 0,
            "deep": {"two words": 'a "b"', "a.b": 1, "list": [1]},
            **({"only": "last"} if number == 2 else {}),
        }
        maps = {
            "config": {key: python_to_value(value) for key, value in config.items()},
            "summary": {"val/loss": python_to_value({"min": number, "last": 1})},
        }
        make(stubs, project=project, name=f"r{number}", **maps)
    reply = stubs.runs.ListRunKeys(pb.ListRunKeysRequest(project=project))
    assert (reply.run_count, reply.more_runs, reply.more_keys) == (3, False, False)
    assert [(key.field, key.run_count, key.numeric, key.differs) for key in reply.keys] == [
        ('config.deep."a.b"', 3, True, False),
        ('config.deep."two words"', 3, False, False),
        ("config.lr", 3, True, True),
        ("config.model", 3, False, False),
        ("config.on", 3, False, True),
        ("summary.val/loss.last", 3, True, False),
        ("summary.val/loss.min", 3, True, True),
        ("config.only", 1, False, True),
    ]
    for key in reply.keys:
        assert len(listed(stubs, project, filter=f"{key.field} : *")) == key.run_count
        assert len(listed(stubs, project, order_by=f"{key.field} desc")) == 3
    few = stubs.runs.ListRunKeys(pb.ListRunKeysRequest(project=project, filter="config.lr > 0.15"))
    assert (few.run_count, [key.field for key in few.keys if key.differs]) == (1, [])
    with pytest.raises(grpc.RpcError) as failure:
        stubs.runs.ListRunKeys(pb.ListRunKeysRequest(project=project, filter="lr ="))
    assert reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FILTER")
