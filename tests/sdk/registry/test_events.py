"""Following a project's events: nothing missed, nothing twice, also when the server comes and goes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import pytest

import modelyard
from modelyard import Api
from modelyard.registry.events import Event
from tests.inprocess.bulk_rows import store_projects
from tests.inprocess.databases import opened
from tests.parts.embedded import isolate
from tests.parts.server import Factory, create_key, run_server_command
from tests.sdk.artifacts.test_artifact_versions import draft

WAIT = 60


@pytest.fixture
def place(
    live_server_factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """A server of the test's own that the SDK uses; calling it starts the server again."""
    server = live_server_factory()
    # The folder's own token is a new one with each start; a key stays.
    key = run_server_command("key", "create", "watcher", "--all-entities", *server.place).stdout.split()[-1]
    server.start()
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", server.url)
    monkeypatch.setenv("MODELYARD_API_KEY", key)
    monkeypatch.setenv("MODELYARD_ENTITY", "local")
    monkeypatch.setenv("MODELYARD_PROJECT", "watched")

    def again() -> None:
        server.restart()

    return again


def test_a_follower_sees_each_event_once_across_a_restart(place: Callable[[], None]) -> None:
    with modelyard.init() as run:
        run.log_artifact(draft("data", {"x": "1"}))
    events = Api().events("watched", follow=True)
    seen: Queue[Event | None] = Queue()

    def follow() -> None:
        for event in events:
            seen.put(event)
        seen.put(None)

    follower = threading.Thread(target=follow)
    follower.start()
    before = [seen.get(timeout=WAIT) for _ in range(len(list(Api().events("watched"))))]
    place()
    with modelyard.init() as run:
        run.log_artifact(draft("data", {"x": "2"}), aliases=["after"])
    expected = list(Api().events("watched"))
    after = [seen.get(timeout=WAIT) for _ in range(len(expected) - len(before))]
    assert [*before, *after] == expected
    assert events.last_sequence == expected[-1].sequence
    events.close()
    assert seen.get(timeout=WAIT) is None
    follower.join(WAIT)
    assert not follower.is_alive()


def test_a_second_follower_continues_where_the_first_ended(place: Callable[[], None]) -> None:
    with modelyard.init() as run:
        run.log_artifact(draft("data", {"x": "1"}))
    with Api().events("watched", follow=True) as first:
        begun = [next(first), next(first)]
    with Api().events("watched", after=first.last_sequence, follow=True) as second:
        rest = [next(second) for _ in range(2)]
    assert [event.sequence for event in [*begun, *rest]] == [1, 2, 3, 4]


def test_a_follower_of_an_entity_continues_where_it_ended(place: Callable[[], None]) -> None:
    with modelyard.init() as run:
        run.log_artifact(draft("data", {"x": "1"}))
    before = list(Api().events("watched"))
    with Api().events("local/", follow=True) as first:
        begun = [next(first) for _ in before[:-1]]
    place()
    with modelyard.init(project="later") as run:
        run.log_artifact(draft("data", {"x": "1"}))
    expected = [*before[-1:], *Api().events("later")]
    with Api().events("local/", after=first.positions, follow=True) as second:
        rest = [next(second) for _ in expected]
    assert begun == before[:-1]
    assert sorted(rest, key=lambda event: (event.project != "watched", event.sequence)) == expected


def test_a_follower_of_an_entity_whose_server_dies_at_the_start_sees_nothing_of_the_past(
    live_server_factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = live_server_factory(env={"MODELYARD_FAILPOINTS": "watch.before_positions=kill@3"})
    key = create_key(server, "watcher", "--all-entities")
    with opened(f"sqlite:///{server.data / 'modelyard.db'}") as database:
        store_projects(database, "wide", [f"p{number}" for number in range(4_500)])
    server.start()
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", server.url)
    monkeypatch.setenv("MODELYARD_API_KEY", key)
    with Api().events("wide/", after=None, follow=True) as events:
        started: Queue[int] = Queue()
        events.on_start = started.put
        found: Queue[Event] = Queue()
        follower = threading.Thread(target=lambda: found.put(next(events)))
        follower.start()
        server.wait()  # two of five messages with positions have been sent
        assert events.positions is None
        server.env.clear()
        server.start()
        assert started.get(timeout=WAIT) == 0
        assert events.positions == {f"p{number}": 1 for number in range(4_500)}
        modelyard.init(entity="wide", project="p4321").finish()
        event = found.get(timeout=WAIT)
        follower.join(WAIT)
    assert (event.project, event.sequence) == ("p4321", 2)


def test_a_follower_waits_for_the_project(place: Callable[[], None]) -> None:
    with Api().events("later", after=None, follow=True) as events:
        started: Queue[int] = Queue()
        events.on_start = started.put
        found: Queue[Event] = Queue()
        follower = threading.Thread(target=lambda: found.put(next(events)))
        follower.start()
        assert started.get(timeout=WAIT) == 0
        modelyard.init(project="later").finish()
        assert found.get(timeout=WAIT).type == "run_state"
        follower.join(WAIT)


def test_only_a_followed_entity_needs_no_project(place: Callable[[], None]) -> None:
    for arguments in ({}, {"follow": True, "after": 3}):
        with pytest.raises(ValueError, match=r"after|follow"):
            Api().events("local/", **arguments)
    with pytest.raises(ValueError, match="sequence number"):
        Api().events("watched", after={"watched": 1}, follow=True)


def test_following_from_now_on_yields_only_later_events(place: Callable[[], None]) -> None:
    with modelyard.init() as run:
        run.log_artifact(draft("data", {"x": "1"}))
        with Api().events("watched", after=None, follow=True, filter='type = "alias_added"') as events:
            found: Queue[Event] = Queue()
            follower = threading.Thread(target=lambda: found.put(next(events)))
            follower.start()
            number = 0
            while found.empty() and number < 100:
                # The follower may begin after any of these: it then sees a later one.
                run.log_artifact(draft("data", {"x": f"later {number}"}))
                number += 1
            event = found.get(timeout=WAIT)
            follower.join(WAIT)
    assert event.sequence > 5
    assert event.version != "v0"
