"""Projects and principals as any client sees them, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from modelyard.v1 import metric_pb2, run_pb2
from modelyard.v1 import model_artifact_pb2 as artifact_pb
from modelyard.v1 import project_pb2 as pb
from modelyard.v1 import registered_model_pb2 as model_pb
from tests.clients.refusals import refused
from tests.parts.server import Factory, LiveServer, Stubs, new_project, run_server_command


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def made(stubs: Stubs, entity: str, name: str) -> pb.Project:
    request = pb.CreateProjectRequest(project=pb.Project(entity=entity, name=name))
    project: pb.Project = stubs.projects.CreateProject(request).project
    return project


def got(stubs: Stubs, entity: str, name: str) -> pb.Project:
    project: pb.Project = stubs.projects.GetProject(pb.GetProjectRequest(entity=entity, name=name)).project
    return project


def pages(call: Any, request: Any, field: str) -> Iterator[Any]:
    while True:
        reply = call(request)
        assert len(getattr(reply, field)) <= (request.page_size or 50)
        yield from getattr(reply, field)
        if not reply.next_page_token:
            return
        request.page_token = reply.next_page_token


def names(stubs: Stubs, **asked: Any) -> list[str]:
    request = pb.ListProjectsRequest(**asked)
    return [project.name for project in pages(stubs.projects.ListProjects, request, "projects")]


def test_a_project_counts_what_it_holds(stubs: Stubs) -> None:
    entity = new_project()
    place = {"entity": entity, "project": "p"}
    empty = made(stubs, entity, "p")
    assert (empty.entity, empty.name, empty.created_by) == (entity, "p", "local")
    assert (empty.run_count, empty.artifact_count, empty.registered_model_count) == (0, 0, 0)
    assert empty.last_activity_time == empty.create_time
    runs = [
        stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(name=name, **place))).run
        for name in ("one", "two", "three")
    ]
    stubs.runs.FinishRun(run_pb2.FinishRunRequest(id=runs[0].id))
    stubs.runs.DeleteRun(run_pb2.DeleteRunRequest(id=runs[1].id))
    for name in ("a", "b"):
        artifact = artifact_pb.ModelArtifact(name=name, type="model", **place)
        stubs.artifacts.CreateModelArtifact(artifact_pb.CreateModelArtifactRequest(model_artifact=artifact))
    model = model_pb.RegisteredModel(name="m", **place)
    stubs.registry.CreateRegisteredModel(model_pb.CreateRegisteredModelRequest(registered_model=model))
    found = got(stubs, entity, "p")
    assert (found.run_count, found.running_run_count) == (2, 1)
    assert (found.artifact_count, found.registered_model_count) == (2, 1)
    [listed] = stubs.projects.ListProjects(pb.ListProjectsRequest(entity=entity)).projects
    assert listed == found


def test_the_last_activity_follows_events_and_calls_of_running_runs(stubs: Stubs) -> None:
    entity = new_project()
    place = {"entity": entity, "project": "p"}
    run = stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(**place))).run
    before = got(stubs, entity, "p").last_activity_time.ToNanoseconds()
    stubs.runs.HeartbeatRun(run_pb2.HeartbeatRunRequest(id=run.id))
    alive = got(stubs, entity, "p").last_activity_time.ToNanoseconds()
    batch = metric_pb2.MetricBatch(steps=[0], timestamps=[1])
    stubs.metrics.LogMetrics(metric_pb2.LogMetricsRequest(run_id=run.id, writer="w", sequence=1, batch=batch))
    logged = got(stubs, entity, "p").last_activity_time.ToNanoseconds()
    stubs.runs.FinishRun(run_pb2.FinishRunRequest(id=run.id))
    ended = got(stubs, entity, "p").last_activity_time.ToNanoseconds()
    assert before < alive < logged < ended


def test_projects_are_listed_in_pages_with_filters_and_orders(stubs: Stubs) -> None:
    entity = new_project()
    for name in ("d", "b", "a", "c", "model-registry"):
        made(stubs, entity, name)
    assert names(stubs, entity=entity, page_size=2) == ["a", "b", "c", "d", "model-registry"]
    assert names(stubs, entity=entity, page_size=2, order_by="create_time desc") == [
        "model-registry", "c", "a", "b", "d",
    ]  # fmt: skip
    assert names(stubs, entity=entity, filter='name : "reg" OR name = "b"') == ["b", "model-registry"]
    assert names(stubs, entity=entity, filter='created_by = "nobody"') == []
    with refused("INVALID_FILTER", "filter"):
        names(stubs, entity=entity, filter="size = 1")
    with refused("INVALID_FIELD", "order_by"):
        names(stubs, entity=entity, order_by="size")
    with refused("INVALID_FIELD", "page_size"):
        names(stubs, entity=entity, page_size=-1)
    reply = stubs.projects.ListProjects(pb.ListProjectsRequest(entity=entity, page_size=1))
    request = pb.ListProjectsRequest(entity="local", page_token=reply.next_page_token)
    with refused("INVALID_PAGE_TOKEN", "page_token"):
        stubs.projects.ListProjects(request)
    with refused("NOT_FOUND"):
        names(stubs, entity=new_project())


def test_making_a_project_again_is_refused_but_a_retry_is_not(stubs: Stubs) -> None:
    entity = new_project()
    request = pb.CreateProjectRequest(project=pb.Project(entity=entity, name="p"), request_id=new_project())
    assert stubs.projects.CreateProject(request) == stubs.projects.CreateProject(request)
    with refused("ALREADY_EXISTS"):
        made(stubs, entity, "p")
    for name in ("", "a/b", "x" * 129, ".."):
        with refused("INVALID_FIELD", "project.name"):
            made(stubs, entity, name)
    with refused("NOT_FOUND"):
        got(stubs, entity, "q")


def test_principals_are_those_that_keys_were_made_for(live_server_factory: Factory) -> None:
    server = live_server_factory()
    tokens = [
        run_server_command("key", "create", name, "--entity", entity, *server.place).stdout.strip()
        for name, entity in (("alice", "team"), ("bob", "team"), ("alice", "team"), ("eve", "others"))
    ]
    server.start()

    def listed(token: str, **asked: Any) -> list[str]:
        request = pb.ListPrincipalsRequest(**asked)
        call = server.stubs(token).projects.ListPrincipals
        return [f"{each.entity}/{each.name}" for each in pages(call, request, "principals")]

    assert listed(tokens[0], page_size=1) == ["team/alice", "team/bob"]
    assert listed(tokens[3]) == ["others/eve"]
    with refused("NOT_FOUND"):
        listed(tokens[3], entity="team")
