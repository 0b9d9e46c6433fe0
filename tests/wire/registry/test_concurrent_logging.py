"""Clients at the same moment: one version for one content, numbers without a gap, nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from modelyard.v1 import event_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import registered_model_pb2 as registry_pb
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.refusals import refused
from tests.parts.server import LiveServer, Stubs, new_project

T = TypeVar("T")


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def _together(count: int, act: Callable[[int], T]) -> Sequence[T]:
    """Runs `act(0)` … `act(count - 1)` on as many threads that start at one moment."""
    barrier = Barrier(count)

    def wait_and_act(number: int) -> T:
        barrier.wait(timeout=30)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_act, range(count)))


def test_the_same_content_logged_twice_at_once_makes_one_version(stubs: Stubs) -> None:
    project, chunks = new_project(), random_chunks(6)
    replies = _together(2, lambda _: fast_upload.log(stubs, project, "bert", {"w": chunks}))
    assert {reply.version.number for reply in replies} == {0}
    assert sorted(reply.created for reply in replies) == [False, True]
    assert fast_upload.read(stubs, replies[0].version.id, "w") == b"".join(chunks)


def test_fifty_concurrent_logs_of_one_name_get_fifty_numbers(stubs: Stubs) -> None:
    project = new_project()
    contents = [random_chunks(1, 2000) for _ in range(50)]
    replies = _together(50, lambda number: fast_upload.log(stubs, project, "bert", {"w": contents[number]}))
    assert sorted(reply.version.number for reply in replies) == list(range(50))
    for number, reply in enumerate(replies):
        assert fast_upload.read(stubs, reply.version.id, "w") == b"".join(contents[number])


def test_events_of_a_project_have_no_gap_however_many_write(stubs: Stubs) -> None:
    project = new_project()
    _together(
        16, lambda number: fast_upload.log(stubs, project, f"m{number % 4}", {"w": random_chunks(1, 500)})
    )
    request = event_pb2.ListEventsRequest(project=project, page_size=1000)
    events = stubs.events.ListEvents(request).events
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    created = [event for event in events if event.type == event_pb2.EVENT_TYPE_VERSION_CREATED]
    assert len(created) == 16


def test_links_by_id_and_by_ref_and_deletes_of_one_artifact_wait_in_one_order(
    any_live_server: LiveServer, stubs: Stubs
) -> None:
    """Deadlocks are resolved by running a transaction again, which the server logs."""
    project = new_project()
    target = f"{project}-registry/Net"
    made = [fast_upload.log(stubs, project, "bert", {"w": random_chunks(1, 500)}).version for _ in range(13)]
    linked = [
        stubs.registry.LinkModelArtifactVersion(
            registry_pb.LinkModelArtifactVersionRequest(id=version.id, target_ref=target)
        ).version
        for version in made
    ]
    kept, *doomed = made
    by_id = registry_pb.LinkModelArtifactVersionRequest(id=kept.id, target_id=linked[0].registered_model_id)
    by_ref = registry_pb.LinkModelArtifactVersionRequest(id=kept.id, target_ref=target)
    begin = any_live_server.log.stat().st_size

    def act(number: int) -> None:
        if number < len(doomed):
            stubs.artifacts.DeleteModelArtifactVersion(
                pb.DeleteModelArtifactVersionRequest(id=doomed[number].id, force=True)
            )
        else:
            for _ in range(5):
                reply = stubs.registry.LinkModelArtifactVersion(by_id if number % 2 else by_ref)
                assert (reply.version.id, reply.created) == (linked[0].id, False)

    _together(36, act)
    assert b"runs again" not in any_live_server.log.read_bytes()[begin:]
    listed = stubs.registry.ListRegisteredModelVersions(
        registry_pb.ListRegisteredModelVersionsRequest(ref=target)
    )
    assert [version.id for version in listed.versions] == [linked[0].id]


def test_registered_models_that_take_each_others_name_are_refused_without_a_deadlock(
    any_live_server: LiveServer, stubs: Stubs
) -> None:
    project = new_project()
    models = [
        stubs.registry.CreateRegisteredModel(
            registry_pb.CreateRegisteredModelRequest(
                registered_model=registry_pb.RegisteredModel(project=project, name=name, type="model")
            )
        ).registered_model
        for name in ("one", "two")
    ]
    begin = any_live_server.log.stat().st_size

    def act(number: int) -> None:
        mine, other = models[number % 2], models[1 - number % 2]
        for _ in range(5):
            wanted = registry_pb.RegisteredModel(id=mine.id, name=other.name)
            request = registry_pb.UpdateRegisteredModelRequest(
                registered_model=wanted, update_mask=FieldMask(paths=["name"])
            )
            with refused("ALREADY_EXISTS"):
                stubs.registry.UpdateRegisteredModel(request)

    _together(24, act)
    assert b"runs again" not in any_live_server.log.read_bytes()[begin:]


def test_an_alias_moved_concurrently_is_on_one_version(stubs: Stubs) -> None:
    project = new_project()
    _together(
        12, lambda _: fast_upload.log(stubs, project, "bert", {"w": random_chunks(1, 500)}, aliases=["best"])
    )
    versions = stubs.artifacts.ListModelArtifactVersions(
        pb.ListModelArtifactVersionsRequest(ref=f"{project}/bert")
    ).versions
    assert sum("best" in version.aliases for version in versions) == 1
    assert sum("latest" in version.aliases for version in versions) == 1
