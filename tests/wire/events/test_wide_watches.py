"""Watches of a project that does not exist yet, and of every project of an entity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from modelyard.v1 import event_pb2 as pb
from modelyard.v1 import registered_model_pb2, run_pb2
from tests.clients.refusals import refused
from tests.clients.watch import listed, log, watching
from tests.inprocess.bulk_rows import store_projects
from tests.inprocess.databases import opened
from tests.parts.server import Factory, LiveServer, Stubs, new_project, run_server_command

Seen = list[tuple[str, int]]


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, str]]:
    """A server that asks for keys, and a key of the entity `team`."""
    server = LiveServer(tmp_path_factory.mktemp("keyed"))
    made = run_server_command("key", "create", "member", "--entity", "team", *server.place)
    try:
        yield server.start(), made.stdout.strip()
    finally:
        server.close()


@pytest.mark.parametrize("start", [None, 0])
def test_a_project_that_does_not_exist_yet_is_waited_for(stubs: Stubs, start: int | None) -> None:
    project = new_project()
    with watching(stubs, project, after_sequence=start) as watch:
        first = watch.next()
        assert (first.last_sequence, len(first.events)) == (0, 0)
        log(stubs, project)
        everything = listed(stubs, project)
        assert watch.until(len(everything)) == everything


def test_a_watch_waits_for_the_first_project_of_its_own_entity_only(
    keyed: tuple[LiveServer, str],
) -> None:
    server, key = keyed
    member = server.stubs(key)
    with watching(member, "later") as watch:
        assert watch.next().last_sequence == 0
        log(member, "later")
        assert watch.until(1)[0].entity == "team"
    for request in ({"project": "later"}, {}):
        with refused("NOT_FOUND"):
            next(member.events.WatchEvents(pb.WatchEventsRequest(entity="others", **request), timeout=20))


def until_quiet(stubs: Stubs, request: pb.WatchEventsRequest, wanted: Seen) -> tuple[Seen, dict[str, int]]:
    """Events of a watch until all that are wanted have come, and its positions then."""
    seen: Seen = []
    positions: dict[str, int] = {}
    call = stubs.events.WatchEvents(request, timeout=60)
    for reply in call:
        seen += [(event.project, event.sequence) for event in reply.events]
        positions |= {each.project: each.last_sequence for each in reply.positions}
        if set(wanted) <= set(seen):
            break
    call.cancel()
    return seen, positions


def entity_with(stubs: Stubs, *projects: str) -> str:
    entity = new_project()
    for project in projects:
        write(stubs, entity, project)
    return entity


def write(stubs: Stubs, entity: str, project: str) -> None:
    """Two events: a run and a registered model are made."""
    stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(entity=entity, project=project)))
    model = registered_model_pb2.RegisteredModel(entity=entity, project=project, name=new_project())
    request = registered_model_pb2.CreateRegisteredModelRequest(registered_model=model)
    stubs.registry.CreateRegisteredModel(request)


def all_of(stubs: Stubs, entity: str, *projects: str) -> Seen:
    found: Seen = []
    for project in projects:
        reply = stubs.events.ListEvents(pb.ListEventsRequest(entity=entity, project=project, page_size=1000))
        found += [(project, event.sequence) for event in reply.events]
    return found


def test_a_whole_entity_is_watched_with_the_projects_that_come_later(stubs: Stubs) -> None:
    entity = entity_with(stubs, "a", "b")
    wanted = all_of(stubs, entity, "a", "b")
    request = pb.WatchEventsRequest(entity=entity, after_sequence=0)
    seen, positions = until_quiet(stubs, request, wanted)
    assert sorted(seen) == sorted(wanted)
    assert [number for project, number in seen if project == "a"] == sorted(n for p, n in wanted if p == "a")
    write(stubs, entity, "c")
    write(stubs, entity, "a")
    request.after_positions.extend(
        pb.ProjectPosition(project=name, last_sequence=last) for name, last in positions.items()
    )
    rest = [each for each in all_of(stubs, entity, "a", "b", "c") if each not in wanted]
    later, _ = until_quiet(stubs, request, rest)
    assert sorted(later) == sorted(rest)
    request.ClearField("after_sequence")
    later, _ = until_quiet(stubs, request, rest)
    assert sorted(later) == sorted(rest)


def test_a_whole_entity_is_watched_from_now_on(stubs: Stubs) -> None:
    entity = entity_with(stubs, "a")
    before = all_of(stubs, entity, "a")
    call = stubs.events.WatchEvents(pb.WatchEventsRequest(entity=entity), timeout=60)
    first = next(call)
    assert [(each.project, each.last_sequence) for each in first.positions] == [("a", len(before))]
    write(stubs, entity, "b")
    reply = next(call)
    while not reply.events:
        reply = next(call)
    call.cancel()
    assert {event.project for event in reply.events} == {"b"}
    assert reply.events[0].sequence == 1


def test_a_filter_applies_to_every_project(stubs: Stubs) -> None:
    entity = entity_with(stubs, "a", "b")
    request = pb.WatchEventsRequest(entity=entity, after_sequence=0, filter='type = "collection_created"')
    call = stubs.events.WatchEvents(request, timeout=60)
    kinds: list[int] = []
    projects: set[str] = set()
    for reply in call:
        kinds += [event.type for event in reply.events]
        projects |= {event.project for event in reply.events}
        if projects == {"a", "b"}:
            break
    call.cancel()
    assert set(kinds) == {pb.EVENT_TYPE_COLLECTION_CREATED}


REFUSALS: dict[str, tuple[dict[str, Any], str, str]] = {
    "a sequence": ({"after_sequence": 1}, "INVALID_FIELD", "after_sequence"),
    "a bad filter": ({"filter": "nope = 1"}, "INVALID_FILTER", "filter"),
    "a position that is not reached": (
        {"after_positions": [pb.ProjectPosition(project="a", last_sequence=999)]},
        "INVALID_FIELD",
        "after_positions[0]",
    ),
    "positions of a project": (
        {"project": "a", "after_positions": [pb.ProjectPosition(project="a", last_sequence=1)]},
        "INVALID_FIELD",
        "after_positions",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_bad_wide_watch_is_refused_at_once(stubs: Stubs, case: str) -> None:
    fields, reason, named = REFUSALS[case]
    entity = entity_with(stubs, "a")
    with refused(reason, named):
        next(stubs.events.WatchEvents(pb.WatchEventsRequest(entity=entity, **fields), timeout=20))


def server_of_many(factory: Factory, names: Sequence[str]) -> LiveServer:
    """A server with an entity `wide` of these projects, each with one event."""
    server = factory()
    assert run_server_command("migrate", *server.place).returncode == 0
    with opened(f"sqlite:///{server.data / 'modelyard.db'}") as database:
        store_projects(database, "wide", names)
    return server.start()


def long_names(count: int) -> list[str]:
    return [f"{number:0128d}" for number in range(count)]


def test_a_watch_of_as_many_projects_as_a_request_can_list_goes_on_after_a_break(
    live_server_factory: Factory,
) -> None:
    names = long_names(28_600)
    stubs = server_of_many(live_server_factory, names).stubs()
    call = stubs.events.WatchEvents(pb.WatchEventsRequest(entity="wide"), timeout=60)
    positions: dict[str, int] = {}
    for reply in call:
        assert not reply.events
        positions |= {each.project: each.last_sequence for each in reply.positions}
        assert reply.positions_complete == (len(positions) == len(names))
        if reply.positions_complete:
            break
    call.cancel()
    assert positions == dict.fromkeys(names, 1)
    for project in (names[7], "new"):
        write(stubs, "wide", project)
    request = pb.WatchEventsRequest(
        entity="wide",
        after_positions=[pb.ProjectPosition(project=name, last_sequence=1) for name in positions],
    )
    call = stubs.events.WatchEvents(request, timeout=60)
    seen: Seen = []
    for reply in call:
        assert reply.positions_complete
        assert len(reply.positions) <= 1  # the client has the others
        seen += [(event.project, event.sequence) for event in reply.events]
        if len(seen) == 4:
            break
    call.cancel()
    assert sorted(seen) == [(names[7], 2), (names[7], 3), ("new", 1), ("new", 2)]


def test_an_entity_of_more_projects_than_a_request_can_list_is_refused(live_server_factory: Factory) -> None:
    stubs = server_of_many(live_server_factory, long_names(28_700)).stubs()
    for start in (None, 0):
        request = pb.WatchEventsRequest(entity="wide", after_sequence=start)
        with refused("QUOTA_EXCEEDED", "project"):
            next(stubs.events.WatchEvents(request, timeout=60))


def test_a_watch_of_an_entity_ends_when_the_server_drains(live_server_factory: Any) -> None:
    server = live_server_factory().start()
    call = server.stubs().events.WatchEvents(pb.WatchEventsRequest())
    waiting = server.stubs().events.WatchEvents(pb.WatchEventsRequest(project="later"))
    next(call)
    next(waiting)
    server.stop()
    for each in (call, waiting):
        with refused("SERVER_STOPPING"):
            list(each)


def test_events_of_another_entity_are_not_delivered(stubs: Stubs) -> None:
    entity, other = entity_with(stubs, "a"), entity_with(stubs, "a")
    call = stubs.events.WatchEvents(pb.WatchEventsRequest(entity=entity), timeout=60)
    next(call)
    write(stubs, other, "b")
    write(stubs, entity, "b")
    reply = next(call)
    call.cancel()
    assert {event.entity for event in reply.events} == {entity}
