"""The sweep on both databases: silent runs, old requests, more than one batch, and locked rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server.db.engine import now
from modelyard_server.db.tables import ArtifactVersion, Collection, Request, Run
from modelyard_server.domain import requests
from modelyard_server.domain.access import keys
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.registry import (
    artifacts,
    collections,
    deletes,
    registered_models,
    resolve,
    versions,
)
from modelyard_server.domain.runs import runs
from modelyard_server.domain.runs.runs import RunSpec
from tests.inprocess.registry import ENTITY, Registry, full
from tests.inprocess.sweep import DAY, MINUTE, sweep


def run_of(registry: Registry, silent_minutes: float = 0.0) -> str:
    """The id of a new run, whose last heartbeat is so long ago."""
    run_id = registry.write(runs.create, RunSpec(ENTITY, "p"), "never")[0].run.id

    def age(session: Session) -> None:
        run = session.get_one(Run, run_id)
        run.heartbeat_at = int(now(session) - silent_minutes * MINUTE)

    registry.database.write(age)
    return run_id


def stored(registry: Registry, run_id: str) -> tuple[str, bool]:
    """The state in the run's row, and whether it has an end."""
    run = registry.database.read(lambda session: session.get_one(Run, run_id))
    return run.state, run.finished_at is not None


def states(registry: Registry) -> list[tuple[str, str]]:
    return [(event.details["run_state"], event.principal) for event in registry.events("p", "run_state")]


def test_a_run_that_is_silent_for_five_minutes_has_crashed(registry: Registry) -> None:
    silent, alive, recent = run_of(registry, 5.1), run_of(registry), run_of(registry, 4.9)
    for _ in range(2):
        sweep(registry.database)
        assert [stored(registry, run_id)[0] for run_id in (silent, alive, recent)] == [
            "crashed",
            "running",
            "running",
        ]
        assert states(registry) == [("running", "local")] * 3 + [("crashed", "modelyard")]


@pytest.mark.parametrize("sign", ["heartbeat", "finish", "resume"])
def test_a_run_marked_as_crashed_runs_again_when_it_sends_again(registry: Registry, sign: str) -> None:
    run_id = run_of(registry, 6)
    sweep(registry.database)
    assert stored(registry, run_id) == ("crashed", False)
    if sign == "heartbeat":
        registry.write(runs.heartbeat, run_id)
        assert stored(registry, run_id) == ("running", False)
        assert states(registry)[1:] == [("crashed", "modelyard"), ("running", "local")]
    elif sign == "finish":
        registry.write(runs.finish, run_id, exit_code=0, state="", summary={})
        assert stored(registry, run_id) == ("finished", True)
        assert states(registry)[1:] == [("crashed", "modelyard"), ("finished", "local")]
    else:
        name = registry.read(runs.find, run_id).run.run_id
        registry.write(runs.create, RunSpec(ENTITY, "p", name), "must")
        assert stored(registry, run_id) == ("running", False)


def test_a_run_that_was_finished_as_crashed_stays_crashed(registry: Registry) -> None:
    run_id = run_of(registry)
    registry.write(runs.finish, run_id, exit_code=1, state="crashed", summary={})
    with pytest.raises(errors.RunFinished):
        registry.write(runs.heartbeat, run_id)
    swept = run_of(registry, 6)
    sweep(registry.database)
    registry.write(runs.finish, swept, exit_code=1, state="crashed", summary={})
    assert stored(registry, swept) == ("crashed", True)
    with pytest.raises(errors.RunFinished):
        registry.write(runs.heartbeat, swept)


def test_deleted_runs_do_not_crash(registry: Registry) -> None:
    run_id = run_of(registry, 6)
    registry.write(runs.delete, run_id)
    sweep(registry.database)
    assert stored(registry, run_id)[0] == "running"


def test_stored_replies_are_deleted_after_seven_days(registry: Registry) -> None:
    def ask(session: Session, name: str) -> None:
        requests.begin(session, LOCAL, "/Method", name, bytes(32))
        requests.finish(session, LOCAL, "/Method", name, name.encode())

    def age(session: Session) -> None:
        for row in session.scalars(select(Request).where(Request.request_id.like("old%"))):
            row.created_at = now(session) - 7 * DAY - MINUTE
        session.get_one(Request, (LOCAL.id, "/Method", "week")).created_at -= 7 * DAY - MINUTE

    def names(session: Session) -> list[str]:
        return list(session.scalars(select(Request.request_id).order_by(Request.request_id)))

    def ask_all(session: Session) -> None:
        for name in ("new", "week", *(f"old{number}" for number in range(requests.SWEEP_BATCH + 3))):
            ask(session, name)

    registry.database.write(ask_all)
    registry.database.write(age)
    sweep(registry.database)
    assert registry.database.read(names) == ["new", "week"]
    reply = registry.database.write(lambda s: requests.begin(s, LOCAL, "/Method", "week", bytes(32)))
    assert reply == b"week"


def _expire(registry: Registry, *numbers: int) -> None:
    """Puts the time of versions into the past."""

    def act(session: Session) -> None:
        session.execute(
            update(ArtifactVersion)
            .where(ArtifactVersion.number.in_(numbers))
            .values(expires_at=now(session) - MINUTE)
        )

    registry.database.write(act)


def _live(registry: Registry, name: str) -> list[int]:
    collection = registry.collection(name)
    query = select(ArtifactVersion.number).where(
        ArtifactVersion.collection_id == collection.id, ArtifactVersion.deleted_at.is_(None)
    )
    return registry.database.read(
        lambda session: list(session.scalars(query.order_by(ArtifactVersion.number)))
    )


def test_one_sweep_handles_more_than_one_batch(registry: Registry) -> None:
    count = deletes.SWEEP_BATCH * 2 + 1
    for number in range(count):
        registry.log("bert", str(number))
    _expire(registry, *range(count - 1))
    sweep(registry.database)
    assert _live(registry, "bert") == [count - 1]
    assert len(registry.events("p", "version_deleted")) == count - 1
    assert registry.number("bert") == count - 1


def test_latest_skips_expired_versions(registry: Registry) -> None:
    for text in "abc":
        registry.log("bert", text)
    _expire(registry, 1)
    registry.delete("bert:v2", force=True)
    assert registry.number("bert") == 0


def test_expired_content_is_logged_as_a_new_version(registry: Registry) -> None:
    registry.log("bert", "a")
    _expire(registry, 0)
    assert registry.log("bert", "a").number == 1


def test_a_linked_version_is_never_swept(registry: Registry) -> None:
    registry.log("bert", "a")
    registry.link("bert", "Churn")
    registry.log("bert", "b")
    _expire(registry, 0, 1)
    sweep(registry.database)
    assert _live(registry, "bert") == [0]
    assert not registry.events("p", "unlinked")


def test_a_sweep_skips_locked_rows(postgresql_registry: Registry) -> None:
    registry, database = postgresql_registry, postgresql_registry.database
    for name in ("held", "free"):
        registry.log(name, "a")
        registry.log(name, "b")
    _expire(registry, 0)

    def hold(session: Session) -> None:
        session.scalars(
            select(Collection).where(Collection.id == registry.collection("held").id).with_for_update()
        ).one()
        sweep(database)

    database.write(hold)
    assert (_live(registry, "held"), _live(registry, "free")) == ([0, 1], [1])
    sweep(database)
    assert _live(registry, "held") == [1]


def test_events_of_a_sweep_are_numbered_like_all_others(registry: Registry) -> None:
    registry.log("bert", "a")
    run_of(registry, 6)
    _expire(registry, 0)
    sweep(registry.database)
    events = registry.events("p")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    with pytest.raises(errors.NotFound):
        registry.number("bert")


def test_a_key_cannot_have_the_name_of_the_server(registry: Registry) -> None:
    with pytest.raises(errors.InvalidField, match="name"):
        registry.database.write(lambda session: keys.create(session, "modelyard", ENTITY))


def test_each_change_of_tags_makes_one_event(registry: Registry) -> None:
    def told() -> list[tuple[str, str, str, str]]:
        found = [*registry.events("p", "tag_added", "tag_removed")]
        return [
            (e.type, e.details["collection"], e.details.get("version", ""), e.details["tag"]) for e in found
        ]

    registry.log("bert", "a", tags=["raw", "raw"])
    registry.log("bert", "a", tags=["raw", "good"])
    version = registry.read(resolve.version, ref=full("bert")).version
    for _ in range(2):
        registry.write(
            lambda s, p: versions.update(
                s, p, resolve.version(s, p, id_=version.id).version, tags=["good", "best"]
            )
        )
    expected = [
        ("tag_added", "bert", "v0", "raw"),
        ("tag_added", "bert", "v0", "good"),
        ("tag_removed", "bert", "v0", "raw"),
        ("tag_added", "bert", "v0", "best"),
    ]
    assert told() == expected
    make: dict[str, Callable[..., Collection]] = {
        "corpus": artifacts.create,
        "Churn": registered_models.create,
    }
    for name, create in make.items():
        wanted = {"entity": ENTITY, "project": "p", "name": name, "description": "", "tags": ["one"]}
        row = registry.write(create, type_="dataset", **wanted)
        for _ in range(2):
            registry.write(
                lambda s, p, row=row: collections.change(
                    s, p, collections.lock(s, row.id), tags=["two"], prefix=""
                )
            )
        expected += [
            ("tag_added", name, "", "one"),
            ("tag_removed", name, "", "one"),
            ("tag_added", name, "", "two"),
        ]
    assert told() == expected
