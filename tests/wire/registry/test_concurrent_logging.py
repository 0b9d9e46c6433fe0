"""Clients at the same moment: one version for one content, numbers without a gap, nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest

from modelyard.v1 import event_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
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
