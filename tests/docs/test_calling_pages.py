"""docs/calling.md on pages, on watching with resume, and on workers."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from modelyard.v1 import event_pb2, run_pb2, value_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.plain_stubs import calling
from tests.clients.refusals import refused
from tests.parts.processes import free_port
from tests.parts.server import Factory, LiveServer, Stubs, new_project, production_place
from tests.server.observability.test_telemetry import addresses, scrape


def _make(stubs: Stubs, project: str, *names: str) -> list[str]:
    """Makes artifacts and returns their ids."""
    ids = []
    for name in names:
        artifact = pb.ModelArtifact(project=project, name=name, type="model")
        request = pb.CreateModelArtifactRequest(model_artifact=artifact, request_id=str(uuid.uuid4()))
        ids.append(stubs.artifacts.CreateModelArtifact(request).model_artifact.id)
    return ids


def _page(stubs: Stubs, project: str, **fields: Any) -> tuple[list[str], str]:
    request = pb.ListModelArtifactsRequest(project=project, order_by="name", **fields)
    reply = stubs.artifacts.ListModelArtifacts(request)
    return [artifact.name for artifact in reply.model_artifacts], reply.next_page_token


def test_pages_of_changing_size_meet_each_row_once_while_rows_come_and_go(live_server: LiveServer) -> None:
    project = new_project()
    with calling(live_server.address) as stubs:
        ids = _make(stubs, project, "b", "d", "f", "h", "j")
        first, token = _page(stubs, project, page_size=2)
        _make(stubs, project, "a", "c", "g")  # before the page's end, in it, and behind it
        deleted = pb.DeleteModelArtifactRequest(id=ids[0], request_id=str(uuid.uuid4()))
        stubs.artifacts.DeleteModelArtifact(deleted)
        second, token = _page(stubs, project, page_size=3, page_token=token)
        third, end = _page(stubs, project, page_size=2, page_token=token)
    assert (first, second, third, end) == (["b", "d"], ["f", "g", "h"], ["j"], "")


def test_a_page_token_belongs_to_its_query(live_server: LiveServer) -> None:
    project = new_project()
    with calling(live_server.address) as stubs:
        _make(stubs, project, "a", "b", "c")
        _, token = _page(stubs, project, page_size=1)
        with refused("INVALID_PAGE_TOKEN", "page_token"):
            _page(stubs, project, page_size=1, page_token=token, filter='name != "b"')


def test_a_page_of_large_rows_is_shorter_and_has_a_next_page(live_server: LiveServer) -> None:
    project, token = new_project(), ""
    found: list[int] = []
    with calling(live_server.address) as stubs:
        for _ in range(6):
            metadata = {"notes": value_pb2.AnyValue(string_value="x" * 1_000_000)}
            fast_upload.log(stubs, project, "bert", {"w": random_chunks(1, 100)}, metadata=metadata)
        while token or not found:
            request = pb.ListModelArtifactVersionsRequest(ref=f"{project}/bert", page_token=token)
            reply = stubs.artifacts.ListModelArtifactVersions(request)
            assert 0 < len(reply.versions) < 6
            found += [version.number for version in reply.versions]
            token = reply.next_page_token
    assert found == [5, 4, 3, 2, 1, 0]


class _Watcher:
    """A consumer that keeps its last sequence and connects again after each break."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.last = 0
        self.seen: list[int] = []

    def read(self, stubs: Stubs, until: int) -> Any:
        """The stream, still open, once the event `until` has come."""
        request = event_pb2.WatchEventsRequest(project=self.project, after_sequence=self.last)
        stream = stubs.events.WatchEvents(request)
        while self.last < until:
            reply = next(stream)
            self.seen += [event.sequence for event in reply.events]
            self.last = reply.last_sequence
        return stream


def test_a_watcher_misses_nothing_and_sees_nothing_twice_when_the_server_is_killed(
    live_server_factory: Factory,
) -> None:
    server, project = live_server_factory().start(), new_project()
    watcher = _Watcher(project)
    with calling(server.address) as stubs:
        for _ in range(3):
            fast_upload.log(stubs, project, "bert", {"w": random_chunks(1, 100)})
            stream = watcher.read(stubs, _last_sequence(stubs, project))
            # Committed, and on its way to the watcher, when the server dies.
            fast_upload.log(stubs, project, "bert", {"w": random_chunks(1, 100)})
            server.kill()
            stream.cancel()
            server.start()
        watcher.read(stubs, _last_sequence(stubs, project)).cancel()
        assert watcher.seen == list(range(1, _last_sequence(stubs, project) + 1))


def _last_sequence(stubs: Stubs, project: str) -> int:
    request = event_pb2.ListEventsRequest(project=project, page_size=1000)
    return int(stubs.events.ListEvents(request).last_sequence)


def test_one_channel_uses_one_worker_and_several_channels_use_several(
    live_server_factory: Factory, request: pytest.FixtureRequest
) -> None:
    place, env = production_place(request)
    options = ("--workers", "2", "--metrics-port", str(free_port()))
    server = live_server_factory(*options, place=place, env=env).start()

    def counts() -> list[float]:
        name = ("modelyard_requests_total", ("/modelyard.v1.RunService/CreateRun", "OK"))
        return [scrape(address).get(name, 0) for address in addresses(server)]

    def make_run(stubs: Stubs) -> None:
        stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=new_project())))

    with calling(server.address) as stubs:
        for _ in range(20):
            make_run(stubs)
    assert sorted(counts()) == [0, 20]
    for _ in range(40):  # each in `OPTIONS` has connections of its own
        with calling(server.address) as stubs:
            make_run(stubs)
    assert sum(counts()) == 60
    assert min(counts()) > 0
