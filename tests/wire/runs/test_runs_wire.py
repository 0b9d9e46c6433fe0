"""Runs over the wire, on both databases."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from modelyard.v1 import metric_pb2, value_pb2
from modelyard.v1 import run_pb2 as pb
from modelyard_server.rpc.wire.convert import python_to_value, python_to_values, values_to_python
from tests.parts.server import LiveServer, Stubs, fields, new_project, reason


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def make(stubs: Stubs, resume: Any = pb.RESUME_POLICY_NEVER, **run: Any) -> pb.Run:
    made: pb.Run = stubs.runs.CreateRun(pb.CreateRunRequest(run=pb.Run(**run), resume=resume)).run
    return made


def get(stubs: Stubs, run: pb.Run) -> pb.Run:
    found: pb.Run = stubs.runs.GetRun(pb.GetRunRequest(id=run.id)).run
    return found


def summary(stubs: Stubs, run: pb.Run) -> dict[str, Any]:
    return values_to_python(get(stubs, run).summary, "summary")


def test_a_run_is_made_and_found_by_both_of_its_ids(stubs: Stubs) -> None:
    project = new_project()
    made = make(stubs, project=project, name="first")
    assert get(stubs, made) == made
    assert stubs.runs.GetRun(pb.GetRunRequest(ref=f"{project}/first")).run == made
    assert (made.entity, made.project, made.state) == ("local", project, pb.RUN_STATE_RUNNING)
    assert not made.HasField("last_step")


def test_a_run_is_returned_as_it_was_created(stubs: Stubs) -> None:
    values = {"lr": 1e-3, "n": 2**62, "nan": math.inf, "deep": {"$": [1, None, True, {"x": "ü"}]}, "s": "x"}
    config = python_to_values(values)
    made = make(
        stubs, project=new_project(), display_name="a b", notes="line\nline", tags=["x", "y"], group="g",
        job_type="train", config=config, summary=config, metadata=config,
    )  # fmt: skip
    found = get(stubs, made)
    assert values_to_python(found.config, "config") == values
    assert found.config == found.summary == found.metadata
    assert (found.display_name, found.notes, list(found.tags)) == ("a b", "line\nline", ["x", "y"])
    assert (found.group, found.job_type) == ("g", "train")


def test_runs_are_named_and_counted_by_the_server(stubs: Stubs) -> None:
    project = new_project()
    made = [make(stubs, project=project) for _ in range(3)]
    for number, run in enumerate(made, 1):
        assert re.fullmatch(rf"[a-z]+-[a-z]+-{number}", run.display_name)
        assert re.fullmatch("[a-z0-9]{8}", run.name)


def test_runs_made_at_once_are_counted_without_gaps(stubs: Stubs) -> None:
    project = new_project()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make(stubs, project=project), range(16)))
    assert sorted(int(run.display_name.split("-")[-1]) for run in made) == list(range(1, 17))


def test_a_run_id_cannot_be_used_twice(stubs: Stubs) -> None:
    project = new_project()
    make(stubs, project=project, name="r")
    with pytest.raises(grpc.RpcError) as failure:
        make(stubs, project=project, name="r")
    assert reason(failure) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
    assert make(stubs, project=new_project(), name="r").name == "r"


def test_resuming_a_run_merges_the_new_config(stubs: Stubs) -> None:
    project = new_project()
    first = make(stubs, project=project, name="r", config={"a": python_to_value(1), "b": python_to_value(2)})
    stubs.runs.FinishRun(pb.FinishRunRequest(id=first.id, exit_code=3))
    request = pb.CreateRunRequest(
        run=pb.Run(project=project, name="r", config={"b": python_to_value(3)}),
        resume=pb.RESUME_POLICY_ALLOW,
    )
    reply = stubs.runs.CreateRun(request)
    assert reply.resumed
    assert reply.run.id == first.id
    assert reply.run.state == pb.RUN_STATE_RUNNING
    assert not reply.run.HasField("finish_time")
    assert values_to_python(reply.run.config, "config") == {"a": 1, "b": 3}


def test_resume_must_needs_an_existing_run(stubs: Stubs) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        make(stubs, pb.RESUME_POLICY_MUST, project=new_project(), name="r")
    assert reason(failure) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


def test_a_run_ends_with_the_state_of_its_exit_code_or_the_given_one(stubs: Stubs) -> None:
    project = new_project()
    for exit_code, state, expected in (
        (0, pb.RUN_STATE_UNSPECIFIED, pb.RUN_STATE_FINISHED),
        (7, pb.RUN_STATE_UNSPECIFIED, pb.RUN_STATE_FAILED),
        (7, pb.RUN_STATE_KILLED, pb.RUN_STATE_KILLED),
        (0, pb.RUN_STATE_CRASHED, pb.RUN_STATE_CRASHED),
        (None, pb.RUN_STATE_UNSPECIFIED, pb.RUN_STATE_FINISHED),
        (None, pb.RUN_STATE_KILLED, pb.RUN_STATE_KILLED),
    ):
        run = make(stubs, project=project)
        assert not run.HasField("exit_code")
        request = pb.FinishRunRequest(
            id=run.id, exit_code=exit_code, state=state, summary={"best": python_to_value(1.5)}
        )
        ended = stubs.runs.FinishRun(request).run
        assert ended.state == expected
        known = exit_code is not None or expected == pb.RUN_STATE_FINISHED
        assert (ended.HasField("exit_code"), ended.exit_code) == (known, exit_code or 0)
        assert ended.HasField("finish_time")
        assert summary(stubs, run) == {"best": 1.5}
        again = stubs.runs.FinishRun(request).run
        again.update_time.CopyFrom(ended.update_time)
        assert again == ended


@pytest.mark.parametrize(
    "failure",
    [{"exit_code": 7}, {"state": pb.RUN_STATE_KILLED}, {"state": pb.RUN_STATE_CRASHED, "exit_code": 1}],
)
def test_a_writer_that_finishes_does_not_hide_that_another_failed(
    stubs: Stubs, failure: dict[str, Any]
) -> None:
    project = new_project()
    run = make(stubs, project=project, name="r")
    failed = stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id, **failure)).run
    late = pb.FinishRunRequest(id=run.id, summary={"late": python_to_value(1)})
    found = stubs.runs.FinishRun(late).run
    assert (found.state, found.exit_code) == (failed.state, failed.exit_code)
    assert found.HasField("exit_code") == failed.HasField("exit_code")
    assert found.finish_time == failed.finish_time
    assert summary(stubs, run) == {"late": 1}
    assert not make(stubs, pb.RESUME_POLICY_MUST, project=project, name="r").HasField("exit_code")
    assert stubs.runs.FinishRun(late).run.state == pb.RUN_STATE_FINISHED


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"exit_code": 1}, {"exit_code": 2}),
        ({"state": pb.RUN_STATE_KILLED}, {"state": pb.RUN_STATE_KILLED, "exit_code": 137}),
        ({"state": pb.RUN_STATE_CRASHED, "exit_code": 1}, {"state": pb.RUN_STATE_CRASHED}),
    ],
)
def test_a_run_that_ends_again_with_the_same_state_keeps_its_first_exit_code_and_time(
    stubs: Stubs, first: dict[str, Any], second: dict[str, Any]
) -> None:
    run = make(stubs, project=new_project())
    ended = stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id, **first)).run
    late = pb.FinishRunRequest(id=run.id, summary={"late": python_to_value(1)}, **second)
    again = stubs.runs.FinishRun(late).run
    assert values_to_python(again.summary, "summary") == {"late": 1}
    again.ClearField("summary")
    again.update_time.CopyFrom(ended.update_time)
    assert again == ended


def test_a_failure_of_another_writer_replaces_finished(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id))
    ended = stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id, exit_code=2)).run
    assert (ended.state, ended.exit_code) == (pb.RUN_STATE_FAILED, 2)


def test_a_run_cannot_be_finished_as_running(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    with pytest.raises(grpc.RpcError) as failure:
        stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id, state=pb.RUN_STATE_RUNNING))
    assert fields(failure) == ["state"]


def test_updates_change_what_the_mask_names_and_nothing_else(stubs: Stubs) -> None:
    host = {"os": python_to_value("x"), "host": python_to_value("a")}
    config = {"a": python_to_value(1)}
    run = make(stubs, project=new_project(), notes="old", group="g", config=config, metadata=host)
    stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id))
    changed = pb.Run(
        id=run.id, notes="new", group="ignored", tags=["t"], metadata={"host": python_to_value("b")},
        config={"b.c": python_to_value(2)}, summary={"s": python_to_value("x")},
    )  # fmt: skip
    mask = FieldMask(paths=["notes", "tags", "summary"])
    request = pb.UpdateRunRequest(run=changed, update_mask=mask)
    request.config_keys.extend(["b.c", "a"])
    request.metadata_keys.append("host")
    stubs.runs.UpdateRun(request)
    found = get(stubs, run)
    assert (found.notes, found.group, list(found.tags)) == ("new", "g", ["t"])
    assert values_to_python(found.config, "config") == {"b.c": 2}
    assert values_to_python(found.metadata, "metadata") == {"os": "x", "host": "b"}
    assert summary(stubs, run) == {"s": "x"}


@pytest.mark.parametrize("paths", [[], ["state"], ["config.a"], ["nope"], ["notes.x"]])
def test_a_mask_outside_the_list_is_refused(stubs: Stubs, paths: list[str]) -> None:
    run = make(stubs, project=new_project())
    with pytest.raises(grpc.RpcError) as failure:
        stubs.runs.UpdateRun(pb.UpdateRunRequest(run=run, update_mask=FieldMask(paths=paths)))
    assert reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MASK")


def test_single_keys_may_have_any_name_and_need_no_mask(stubs: Stubs) -> None:
    run = make(stubs, project=new_project(), config={"keep": python_to_value(1)})
    names = ["learningRate", "a,b", "with space", "config.x"]
    given = pb.Run(id=run.id, config={name: python_to_value(2) for name in names})
    stubs.runs.UpdateRun(pb.UpdateRunRequest(run=given, config_keys=names, summary_keys=["not there"]))
    found = values_to_python(get(stubs, run).config, "config")
    assert found == {"keep": 1, **dict.fromkeys(names, 2)}


@pytest.mark.parametrize("name", ["config", "summary", "metadata"])
def test_single_keys_that_are_empty_or_of_a_map_in_the_mask_are_refused(stubs: Stubs, name: str) -> None:
    run = make(stubs, project=new_project())
    for key, paths in (("", ["notes"]), ("a", [name])):
        with pytest.raises(grpc.RpcError) as failure:
            stubs.runs.UpdateRun(
                pb.UpdateRunRequest(run=run, update_mask=FieldMask(paths=paths), **{f"{name}_keys": [key]})
            )
        assert fields(failure) == [f"{name}_keys"]


def test_a_writer_may_ask_for_less_than_the_whole_run_in_replies(stubs: Stubs) -> None:
    config = python_to_values({"lr": 0.1, "text": "x" * 1000})
    request = pb.CreateRunRequest(run=pb.Run(project=new_project(), config=config))
    request.read_mask.paths.extend(["state", "config.lr"])
    made = stubs.runs.CreateRun(request).run
    assert (made.state, dict(made.config)) == (pb.RUN_STATE_RUNNING, {"lr": config["lr"]})
    assert not made.created_by
    update = pb.UpdateRunRequest(run=pb.Run(id=made.id, notes="n"), request_id="once")
    update.update_mask.paths.append("notes")
    update.read_mask.paths.append("attempt")
    for _ in range(2):
        reply = stubs.runs.UpdateRun(update).run
        assert {field.name for field, _ in reply.ListFields()} == {
            "id",
            "name",
            "entity",
            "project",
            "attempt",
        }
    finish = pb.FinishRunRequest(id=made.id)
    finish.read_mask.paths.append("state")
    assert stubs.runs.FinishRun(finish).run.state == pb.RUN_STATE_FINISHED
    assert dict(get(stubs, made).config) == dict(config)
    finish.read_mask.paths.append("nope")
    with pytest.raises(grpc.RpcError) as failure:
        stubs.runs.FinishRun(finish)
    assert fields(failure) == ["read_mask"]


def test_null_is_a_kind_and_a_value_without_a_kind_is_refused(stubs: Stubs) -> None:
    run = make(stubs, project=new_project(), config={"none": python_to_value([None])})
    assert get(stubs, run).config["none"].list_value.values[0].null_value
    inner = value_pb2.AnyValue(list_value=value_pb2.ValueList(values=[value_pb2.AnyValue()]))
    for wrong, place in ((value_pb2.AnyValue(null_value=False), ""), (inner, "[0]")):
        with pytest.raises(grpc.RpcError) as failure:
            make(stubs, project=new_project(), config={"x": wrong})
        assert fields(failure) == [f"run.config.x{place}"]


def test_a_deleted_run_is_not_found_and_its_id_stays_in_use(stubs: Stubs) -> None:
    project = new_project()
    run = make(stubs, project=project, name="r")
    rows = metric_pb2.MetricBatch(
        steps=[0], timestamps=[0.0], columns=[metric_pb2.MetricColumn(key="a", ints=[1])]
    )
    logging = metric_pb2.LogMetricsRequest(run_id=run.id, writer="w", sequence=1, batch=rows)
    stubs.metrics.LogMetrics(logging)
    stubs.runs.DeleteRun(pb.DeleteRunRequest(id=run.id))
    calls: list[Callable[[], object]] = [
        lambda: get(stubs, run),
        lambda: stubs.runs.DeleteRun(pb.DeleteRunRequest(id=run.id)),
        lambda: list(stubs.metrics.ScanMetricHistory(metric_pb2.ScanMetricHistoryRequest(run_id=run.id))),
        lambda: stubs.metrics.LogMetrics(logging),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as failure:
            call()
        assert reason(failure) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert list(stubs.runs.ListRuns(pb.ListRunsRequest(project=project)).runs) == []
    with pytest.raises(grpc.RpcError) as failure:
        make(stubs, pb.RESUME_POLICY_ALLOW, project=project, name="r")
    assert reason(failure) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")


def nested(levels: int) -> value_pb2.AnyValue:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return python_to_value(value)


BAD_RUNS: dict[str, tuple[dict[str, Any], str]] = {
    "a run id with a slash": ({"name": "a/b"}, "run.name"),
    "a long run id": ({"name": "a" * 129}, "run.name"),
    "a run id in other letters": ({"name": "ä"}, "run.name"),
    "a project that climbs": ({"project": ".."}, "run.project"),
    "an entity with a slash": ({"entity": "a/b"}, "run.entity"),
    "a long display name": ({"display_name": "x" * 129}, "run.display_name"),
    "a display name that turns around": ({"display_name": "a\u202eb"}, "run.display_name"),
    "notes with NUL": ({"notes": "a\x00"}, "run.notes"),
    "long notes": ({"notes": "x" * (64 * 1024 + 1)}, "run.notes"),
    "too many tags": ({"tags": [str(n) for n in range(101)]}, "run.tags"),
    "an empty tag": ({"tags": ["a", ""]}, "run.tags[1]"),
    "a long group": ({"group": "x" * 129}, "run.group"),
    "a job type with a line break": ({"job_type": "a\nb"}, "run.job_type"),
    "a config too deep": ({"config": {"a": nested(21)}}, "run.config.a" + "[0]" * 20),
    "a config with NUL": ({"config": {"a": python_to_value({"b": "\x00"})}}, "run.config.a.b"),
    "a text too large": ({"config": {"a": python_to_value("x" * (1 << 20))}}, "run.config.a"),
    "a list too long": ({"config": {"a": python_to_value([1] * 200_001)}}, "run.config.a"),
    "a value too large": ({"config": {"a": 1, "b": [1.5] * 191_000, "c": 2}}, "run.config.b"),
    "a config too large": (
        {"config": {"a": 1, **dict.fromkeys("bcd", "x" * 850000), "e": "x" * 900_000}},
        "run.config.e",
    ),
    "maps too large together": (
        {"config": {"a": ["x" * 900_000] * 2}, "metadata": {"b": ["x" * 700_000] * 2}},
        "run.config.a",
    ),
    "a summary key too long": ({"summary": {"k" * 1025: python_to_value(1)}}, "run.summary"),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_a_bad_run_is_refused_and_the_field_named(stubs: Stubs, name: str) -> None:
    run, field = BAD_RUNS[name]
    project = new_project()
    maps = {part: run[part] for part in run.keys() & {"config", "metadata"}}
    run = run | {
        part: {key: value if isinstance(value, value_pb2.AnyValue) else python_to_value(value)
               for key, value in entries.items()}
        for part, entries in maps.items()
    }  # fmt: skip
    with pytest.raises(grpc.RpcError) as failure:
        make(stubs, **({"project": project} | run))
    assert reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert fields(failure) == [field]
    with pytest.raises(grpc.RpcError) as absent:
        stubs.runs.ListRuns(pb.ListRunsRequest(project=project))
    assert reason(absent) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


@pytest.mark.parametrize("run_id", ["", "x", "0" * 33])
def test_an_invalid_id_is_refused(stubs: Stubs, run_id: str) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        stubs.runs.DeleteRun(pb.DeleteRunRequest(id=run_id))
    assert fields(failure) == ["id"]
