"""The sweep on both databases: silent runs, old requests, more than one batch, and what others hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server.db.engine import Database, now
from modelyard_server.db.tables import ArtifactVersion, Collection, Request, Run
from modelyard_server.domain import requests
from modelyard_server.domain.access import keys
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.registry import artifacts, collections, deletes, registered_models, versions
from modelyard_server.domain.runs import runs
from modelyard_server.domain.runs.runs import RunDraft
from modelyard_server.process import background
from modelyard_server.rpc.dispatch.executors import Pools, Transactions
from tests.rules.on_databases import ENTITY, Yard, full, postgresql_database, sqlite_database

MINUTE = 60 * 1_000_000
DAY = 24 * 60 * MINUTE


@pytest.fixture(params=["sqlite", "postgresql"])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Yard]:
    if request.param == "sqlite":
        with sqlite_database(tmp_path) as database:
            yield Yard(database)
    else:
        with postgresql_database(request.getfixturevalue("postgres_database")) as database:
            yield Yard(database)


def sweep(database: Database) -> None:
    """One sweep, as a server does it."""
    pools = Pools(is_sqlite=database.is_sqlite)
    try:
        asyncio.run(background.sweep(Transactions(database, pools)))
    finally:
        pools.close()


def run_of(yard: Yard, silent_minutes: float = 0.0) -> str:
    """The id of a new run, whose last heartbeat is so long ago."""
    run_id = yard.write(runs.create, RunDraft(ENTITY, "p"), "never")[0].run.id

    def age(session: Session) -> None:
        run = session.get_one(Run, run_id)
        run.heartbeat_at = int(now(session) - silent_minutes * MINUTE)

    yard.database.write(age)
    return run_id


def stored(yard: Yard, run_id: str) -> tuple[str, bool]:
    """The state in the run's row, and whether it has an end."""
    run = yard.database.read(lambda session: session.get_one(Run, run_id))
    return run.state, run.finished_at is not None


def states(yard: Yard) -> list[tuple[str, str]]:
    return [(event.details["run_state"], event.principal) for event in yard.events("p", "run_state")]


def test_a_run_that_is_silent_for_five_minutes_has_crashed(yard: Yard) -> None:
    silent, alive, recent = run_of(yard, 5.1), run_of(yard), run_of(yard, 4.9)
    for _ in range(2):
        sweep(yard.database)
        assert [stored(yard, run_id)[0] for run_id in (silent, alive, recent)] == [
            "crashed",
            "running",
            "running",
        ]
        assert states(yard) == [("running", "local")] * 3 + [("crashed", "modelyard")]


@pytest.mark.parametrize("sign", ["heartbeat", "finish", "resume"])
def test_a_run_that_was_only_cut_off_comes_back(yard: Yard, sign: str) -> None:
    run_id = run_of(yard, 6)
    sweep(yard.database)
    assert stored(yard, run_id) == ("crashed", False)
    if sign == "heartbeat":
        yard.write(runs.heartbeat, run_id)
        assert stored(yard, run_id) == ("running", False)
        assert states(yard)[1:] == [("crashed", "modelyard"), ("running", "local")]
    elif sign == "finish":
        yard.write(runs.finish, run_id, exit_code=0, state="", summary={})
        assert stored(yard, run_id) == ("finished", True)
        assert states(yard)[1:] == [("crashed", "modelyard"), ("finished", "local")]
    else:
        name = yard.read(runs.find, run_id).run.run_id
        yard.write(runs.create, RunDraft(ENTITY, "p", name), "must")
        assert stored(yard, run_id) == ("running", False)


def test_a_run_that_said_it_crashed_stays_so(yard: Yard) -> None:
    run_id = run_of(yard)
    yard.write(runs.finish, run_id, exit_code=1, state="crashed", summary={})
    with pytest.raises(errors.RunFinished):
        yard.write(runs.heartbeat, run_id)
    swept = run_of(yard, 6)
    sweep(yard.database)
    yard.write(runs.finish, swept, exit_code=1, state="crashed", summary={})
    assert stored(yard, swept) == ("crashed", True)
    with pytest.raises(errors.RunFinished):
        yard.write(runs.heartbeat, swept)


def test_deleted_runs_do_not_crash(yard: Yard) -> None:
    run_id = run_of(yard, 6)
    yard.write(runs.remove, run_id)
    sweep(yard.database)
    assert stored(yard, run_id)[0] == "running"


def test_requests_are_forgotten_after_seven_days(yard: Yard) -> None:
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

    yard.database.write(ask_all)
    yard.database.write(age)
    sweep(yard.database)
    assert yard.database.read(names) == ["new", "week"]
    reply = yard.database.write(lambda s: requests.begin(s, LOCAL, "/Method", "week", bytes(32)))
    assert reply == b"week"


def _expire(yard: Yard, *numbers: int) -> None:
    """Puts the time of versions into the past."""

    def act(session: Session) -> None:
        session.execute(
            update(ArtifactVersion)
            .where(ArtifactVersion.number.in_(numbers))
            .values(expires_at=now(session) - MINUTE)
        )

    yard.database.write(act)


def _live(yard: Yard, name: str) -> list[int]:
    collection = yard.collection(name)
    query = select(ArtifactVersion.number).where(
        ArtifactVersion.collection_id == collection.id, ArtifactVersion.deleted_at.is_(None)
    )
    return yard.database.read(lambda session: list(session.scalars(query.order_by(ArtifactVersion.number))))


def test_more_than_a_batch_goes_in_one_sweep(yard: Yard) -> None:
    count = deletes.SWEEP_BATCH * 2 + 1
    for number in range(count):
        yard.log("bert", str(number))
    _expire(yard, *range(count - 1))
    sweep(yard.database)
    assert _live(yard, "bert") == [count - 1]
    assert len(yard.events("p", "version_deleted")) == count - 1
    assert yard.number("bert") == count - 1


def test_latest_goes_past_versions_whose_time_is_over(yard: Yard) -> None:
    for text in "abc":
        yard.log("bert", text)
    _expire(yard, 1)
    yard.delete("bert:v2", delete_aliases=True)
    assert yard.number("bert") == 0


def test_content_whose_time_is_over_is_logged_anew(yard: Yard) -> None:
    yard.log("bert", "a")
    _expire(yard, 0)
    assert yard.log("bert", "a").number == 1


def test_a_linked_version_is_never_swept(yard: Yard) -> None:
    yard.log("bert", "a")
    yard.link("bert", "Churn")
    yard.log("bert", "b")
    _expire(yard, 0, 1)
    sweep(yard.database)
    assert _live(yard, "bert") == [0]
    assert not yard.events("p", "unlinked")


def test_a_sweep_goes_around_what_somebody_holds(postgres_database: str) -> None:
    with postgresql_database(postgres_database) as database:
        yard = Yard(database)
        for name in ("held", "free"):
            yard.log(name, "a")
            yard.log(name, "b")
        _expire(yard, 0)

        def hold(session: Session) -> None:
            session.scalars(
                select(Collection).where(Collection.id == yard.collection("held").id).with_for_update()
            ).one()
            sweep(database)

        database.write(hold)
        assert (_live(yard, "held"), _live(yard, "free")) == ([0, 1], [1])
        sweep(database)
        assert _live(yard, "held") == [1]


def test_events_of_a_sweep_are_counted_like_all_others(yard: Yard) -> None:
    yard.log("bert", "a")
    run_of(yard, 6)
    _expire(yard, 0)
    sweep(yard.database)
    events = yard.events("p")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    with pytest.raises(errors.NotFound):
        yard.number("bert")


def test_nobody_gets_a_key_in_the_name_of_the_server(yard: Yard) -> None:
    with pytest.raises(errors.InvalidField, match="name"):
        yard.database.write(lambda session: keys.create(session, "modelyard", ENTITY))


def test_tags_are_told_once_wherever_they_come_and_go(yard: Yard) -> None:
    def told() -> list[tuple[str, str, str, str]]:
        found = [*yard.events("p", "tag_added", "tag_removed")]
        return [
            (e.type, e.details["collection"], e.details.get("version", ""), e.details["tag"]) for e in found
        ]

    yard.log("bert", "a", tags=["raw", "raw"])
    yard.log("bert", "a", tags=["raw", "good"])
    version = yard.read(versions.resolve, full("bert")).version
    for _ in range(2):
        yard.write(lambda s, p: versions.update(s, p, versions.get(s, p, version.id), tags=["good", "best"]))
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
        row = yard.write(create, type_="dataset", **wanted)
        for _ in range(2):
            yard.write(
                lambda s, p, row=row: collections.change(
                    s, p, collections.lock(s, s.get_one(Collection, row.id)), tags=["two"], prefix=""
                )
            )
        expected += [
            ("tag_added", name, "", "one"),
            ("tag_removed", name, "", "one"),
            ("tag_added", name, "", "two"),
        ]
    assert told() == expected
