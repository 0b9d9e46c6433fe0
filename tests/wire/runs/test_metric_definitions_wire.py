"""Definitions of metrics over the wire, on both databases: kept by name, in each attempt its own."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from modelyard.v1 import run_pb2 as pb
from tests.parts.server import LiveServer, Stubs, fields, new_project

LOSS = pb.MetricDefinition(
    step_metric="epoch",
    step_sync=False,
    summary=[pb.SUMMARY_KIND_MIN, pb.SUMMARY_KIND_LAST],
    goal=pb.METRIC_GOAL_MINIMIZE,
)
HIDDEN = pb.MetricDefinition(hidden=True)


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def create(stubs: Stubs, project: str, resume: Any = pb.RESUME_POLICY_NEVER, **definitions: Any) -> pb.Run:
    run = pb.Run(project=project, name="r", metric_definitions=definitions)
    reply: pb.CreateRunResponse = stubs.runs.CreateRun(pb.CreateRunRequest(run=run, resume=resume))
    return reply.run


def update(stubs: Stubs, run: pb.Run, *, whole: bool = False, **definitions: Any) -> pb.Run:
    given = {name.replace("_any", "*"): each for name, each in definitions.items()}
    request = pb.UpdateRunRequest(
        run=pb.Run(id=run.id, metric_definitions={name: each for name, each in given.items() if each}),
        update_mask=FieldMask(paths=["metric_definitions"] if whole else []),
        metric_definitions_keys=() if whole else given,
    )
    reply: pb.UpdateRunResponse = stubs.runs.UpdateRun(request)
    return reply.run


def defined(run: pb.Run) -> dict[str, pb.MetricDefinition]:
    return dict(run.metric_definitions)


def test_single_definitions_are_set_and_removed_and_all_are_replaced(stubs: Stubs) -> None:
    run = create(stubs, new_project(), loss=LOSS)
    assert defined(run) == {"loss": LOSS}
    changed = update(stubs, run, val_any=HIDDEN, _any=pb.MetricDefinition(step_metric="_timestamp"))
    assert set(defined(changed)) == {"loss", "val*", "*"}
    assert changed.etag != run.etag
    assert set(defined(update(stubs, run, loss=None))) == {"val*", "*"}
    assert defined(update(stubs, run, whole=True, acc=LOSS)) == {"acc": LOSS}
    assert defined(stubs.runs.GetRun(pb.GetRunRequest(id=run.id)).run) == {"acc": LOSS}


def test_lists_have_them_unless_the_mask_leaves_them_out(stubs: Stubs) -> None:
    project = new_project()
    create(stubs, project, loss=LOSS)
    for paths, found in (((), {"loss": LOSS}), (("notes",), {}), (("metric_definitions",), {"loss": LOSS})):
        request = pb.ListRunsRequest(project=project, read_mask=FieldMask(paths=paths))
        (run,) = stubs.runs.ListRuns(request).runs
        assert defined(run) == found


def test_resuming_adds_to_them_and_a_new_attempt_has_its_own(stubs: Stubs) -> None:
    project = new_project()
    create(stubs, project, loss=LOSS)
    resumed = create(stubs, project, pb.RESUME_POLICY_MUST, noise=HIDDEN)
    assert defined(resumed) == {"loss": LOSS, "noise": HIDDEN}
    begun = create(stubs, project, pb.RESUME_POLICY_NEW_ATTEMPT, acc=LOSS)
    assert defined(begun) == {"acc": LOSS}
    earlier = stubs.runs.GetRun(pb.GetRunRequest(id=begun.id, attempt=1)).run
    assert defined(earlier) == {"loss": LOSS, "noise": HIDDEN}


@pytest.mark.parametrize(
    ("name", "definition", "field"),
    [
        ("", {}, "run.metric_definitions[]"),
        ("_x", {}, "run.metric_definitions[_x]"),
        ("a\n", {}, "run.metric_definitions[a\n]"),
        ("a", {"step_metric": "_own"}, "run.metric_definitions[a].step_metric"),
        ("a", {"goal": 7}, "run.metric_definitions[a].goal"),
        ("a", {"summary": [99]}, "run.metric_definitions[a].summary"),
        ("a", {"summary": [0]}, "run.metric_definitions[a].summary"),
        ("a", {"summary": [1, 1]}, "run.metric_definitions[a].summary"),
        ("a", {"summary": [1, 8]}, "run.metric_definitions[a].summary"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    stubs: Stubs, name: str, definition: dict[str, Any], field: str
) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        create(stubs, new_project(), **{name: pb.MetricDefinition(**definition)})
    assert fields(failure) == [field]


def test_too_many_are_refused_and_what_was_there_stays(stubs: Stubs) -> None:
    run = create(stubs, new_project(), loss=LOSS)
    for count, size in ((1001, 1), (900, 100)):
        with pytest.raises(grpc.RpcError) as failure:
            update(stubs, run, **{f"m{number}" + "x" * size: HIDDEN for number in range(count)})
        assert fields(failure) == ["run.metric_definitions"]
    assert defined(stubs.runs.GetRun(pb.GetRunRequest(id=run.id)).run) == {"loss": LOSS}
