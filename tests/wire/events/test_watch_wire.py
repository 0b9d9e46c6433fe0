"""WatchEvents: every event of a project once, in order, whoever writes and however slowly it is read."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from modelyard.v1 import event_pb2 as pb
from modelyard.v1 import model_artifact_pb2, registered_model_pb2
from tests.clients.refusals import refused
from tests.clients.watch import listed, log, touch, watching
from tests.parts.server import LiveServer, Stubs, new_project


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def test_a_watch_sends_past_events_and_then_new_ones(stubs: Stubs) -> None:
    project = new_project()
    log(stubs, project)
    before = listed(stubs, project)
    with watching(stubs, project) as watch:
        assert watch.until(len(before)) == before
        touch(stubs, project, "a")
        touch(stubs, project, "b")
        assert watch.until(len(before) + 2) == listed(stubs, project)[len(before) :]


def test_a_watch_from_a_sequence_leaves_out_earlier_events(stubs: Stubs) -> None:
    project = new_project()
    log(stubs, project)
    events = listed(stubs, project)
    with watching(stubs, project, after_sequence=2) as watch:
        assert watch.until(len(events)) == events[2:]


def test_a_watch_from_now_on_sends_its_position_at_once(stubs: Stubs) -> None:
    project = new_project()
    log(stubs, project)
    last = len(listed(stubs, project))
    with watching(stubs, project, after_sequence=None) as watch:
        first = watch.next()
        assert (first.last_sequence, len(first.events)) == (last, 0)
        touch(stubs, project, "a")
        assert [event.alias for event in watch.until(last + 1)] == ["a"]


def test_a_filter_lets_through_what_it_names_and_the_position_moves_on(stubs: Stubs) -> None:
    project = new_project()
    log(stubs, project)
    wanted = 'type = "alias_added" AND alias = "wanted"'
    with watching(stubs, project, filter=wanted) as watch:
        assert watch.next().last_sequence == len(listed(stubs, project))
        touch(stubs, project, "unwanted")
        touch(stubs, project, "wanted")
        told = watch.next()
        assert [event.alias for event in told.events] == ["wanted"]
        assert told.last_sequence == len(listed(stubs, project))


def test_a_watcher_that_does_not_read_misses_nothing(stubs: Stubs) -> None:
    project = new_project()
    log(stubs, project)
    call = stubs.events.WatchEvents(pb.WatchEventsRequest(project=project, after_sequence=0))
    next(call)
    for number in range(300):
        touch(stubs, project, f"a{number}")
    everything = listed(stubs, project)
    seen = []
    for reply in call:
        seen += [event.sequence for event in reply.events]
        if reply.last_sequence == len(everything):
            break
    call.cancel()
    assert seen == list(range(seen[0], len(everything) + 1))


def test_many_watchers_see_the_same_while_many_write(stubs: Stubs) -> None:
    project = new_project()
    log(stubs, project)
    with contextlib.ExitStack() as stack:
        watches = [stack.enter_context(watching(stubs, project)) for _ in range(5)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: touch(stubs, project, f"a{number}"), range(60)))
        everything = listed(stubs, project)
        for watch in watches:
            assert watch.until(len(everything)) == everything


def test_a_watch_delivers_only_events_of_its_project(stubs: Stubs) -> None:
    one, other = new_project(), new_project()
    log(stubs, one)
    log(stubs, other)
    with watching(stubs, one, after_sequence=None) as watch:
        last = watch.next().last_sequence
        touch(stubs, other, "theirs")
        touch(stubs, one, "ours")
        assert [event.alias for event in watch.until(last + 1)] == ["ours"]


REFUSALS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "below 0": ({"after_sequence": -1}, "INVALID_FIELD", ["after_sequence"]),
    "beyond the last": ({"after_sequence": 10_000}, "INVALID_FIELD", ["after_sequence"]),
    "a bad filter": ({"filter": "type ="}, "INVALID_FILTER", ["filter"]),
    "an unknown field": ({"filter": "password = 1"}, "INVALID_FILTER", ["filter"]),
    "a project that cannot be": ({"project": "a/b"}, "INVALID_FIELD", ["project"]),
    "beyond what is not there yet": (
        {"project": "nowhere", "after_sequence": 1},
        "INVALID_FIELD",
        ["after_sequence"],
    ),
    "a bad filter of what is not there yet": (
        {"project": "nowhere", "filter": "type ="},
        "INVALID_FILTER",
        ["filter"],
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_bad_watch_is_refused_at_once(stubs: Stubs, case: str) -> None:
    fields, reason, named = REFUSALS[case]
    project = new_project()
    log(stubs, project)
    with refused(reason, *named):
        list(stubs.events.WatchEvents(pb.WatchEventsRequest(**({"project": project} | fields)), timeout=20))


def test_deletes_and_links_make_events_on_both_sides(stubs: Stubs) -> None:
    project = new_project()
    log(stubs, project)
    registry = f"wandb-registry-{project}"
    link = registered_model_pb2.LinkModelArtifactVersionRequest(
        ref=f"{project}/bert", target_ref=f"{registry}/Churn"
    )
    linked = stubs.registry.LinkModelArtifactVersion(link).version
    with watching(stubs, registry) as theirs, watching(stubs, project, after_sequence=None) as ours:
        last = ours.next().last_sequence
        stubs.artifacts.DeleteModelArtifactVersion(
            model_artifact_pb2.DeleteModelArtifactVersionRequest(id=linked.source.id, force=True)
        )
        told = [pb.EventType.Name(event.type)[11:] for event in ours.until(last + 3)]
        assert told == ["UNLINKED", "ALIAS_REMOVED", "VERSION_DELETED"]
        told = [pb.EventType.Name(event.type)[11:] for event in theirs.until(5)]
        assert told == ["COLLECTION_CREATED", "LINKED", "ALIAS_ADDED", "UNLINKED", "ALIAS_REMOVED"]
