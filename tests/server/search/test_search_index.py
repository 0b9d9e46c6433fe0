"""The index of attributes always matches the rows, and a migration fills it for existing rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard_server.db import migrations
from modelyard_server.db.attributes import KEY_LIMIT, LEAF_LIMIT, Attribute, Rows, rows_of
from modelyard_server.db.engine import Database
from modelyard_server.db.tables import Alias, ArtifactVersion, Base, Collection, Link, Project, Run
from modelyard_server.domain import events
from modelyard_server.domain.registry import collections, resolve, versions
from modelyard_server.domain.runs import metrics, run_maps, runs
from modelyard_server.domain.runs.metrics import Batch
from modelyard_server.domain.runs.run_maps import Attempt, Change
from modelyard_server.domain.runs.runs import RunChanges, RunSpec
from tests.inprocess import earlier_schemas
from tests.inprocess.databases import sqlite_database
from tests.inprocess.registry import ENTITY, Registry

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-1, 1),
    st.sampled_from(["", "a", "b" * 300, "Ä"]),
    st.lists(st.sampled_from(["a", "b"]), max_size=2),
)
MAPS = st.dictionaries(
    st.sampled_from(["a", "a.b", "b", "\\", "k" * 300]),
    st.one_of(SCALARS, st.dictionaries(st.sampled_from(["x", "y"]), SCALARS, max_size=2)),
    max_size=4,
)
TAGS = st.lists(st.sampled_from(["t1", "t2", "t3"]), unique=True, max_size=3)


def indexed(session: Session) -> dict[str, Rows]:
    """The index as it is, by subject."""
    found: dict[str, Rows] = {}
    for row in session.scalars(select(Attribute)):
        found.setdefault(row.subject_id, {})[row.key, row.item] = (row.number, row.text)
        project = session.get_one(Project, row.project_id)
        assert project.entity_id == row.entity_id
    return found


def expected(session: Session) -> dict[str, Rows]:
    """The index as the rows would have it."""
    found: dict[str, Rows] = {}
    for version in session.scalars(select(ArtifactVersion).where(ArtifactVersion.deleted_at.is_(None))):
        found[version.id] = rows_of("metadata", version.metadata_) | rows_of("tags", version.tags)
    for run in session.scalars(select(Run).where(Run.deleted_at.is_(None))):
        latest = Attempt(run.id, run.attempt)
        maps = run_maps.read(session, [latest])[latest]
        found[run.id] = {
            **rows_of("run.config", maps["config"]),
            **rows_of("run.summary", maps["summary"]),
            **rows_of("run.tags", run.tags),
        }
    for row in session.scalars(select(Collection)):
        found[row.id] = rows_of("collection.tags", row.tags)
    return {subject: rows for subject, rows in found.items() if rows}


def owners_are_right(session: Session) -> None:
    for table in (ArtifactVersion, Link, Alias):
        rows = session.execute(
            select(table.entity_id, table.project_id, Project.entity_id, Project.id)
            .join(Collection, Collection.id == table.collection_id)
            .join(Project, Project.id == Collection.project_id)
        )
        assert all(row[:2] == row[2:] for row in rows)


class Writers(RuleBasedStateMachine):
    """Every rule that writes what the index holds."""

    registry: Registry
    count = 0

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[str] = []
        self.versions: list[str] = []

    @rule(config=MAPS, tags=TAGS)
    def make_run(self, config: dict[str, Any], tags: list[str]) -> None:
        spec = RunSpec(ENTITY, "p", maps={"config": config}, tags=tags)
        self.runs.append(self.registry.write(runs.create, spec, "never")[0].run.id)

    @rule(summary=MAPS, config=MAPS, tags=TAGS)
    def change_run(self, summary: dict[str, Any], config: dict[str, Any], tags: list[str]) -> None:
        if self.runs:
            maps = {"config": Change(config, whole=True), "summary": Change(summary, whole=True)}
            self.registry.write(runs.update, self.runs[-1], RunChanges({"tags": tags}, maps))

    @rule(
        summary=MAPS, part=st.sampled_from(["config", "summary"]), removed=st.sampled_from(["a", "big", "?"])
    )
    def change_keys(self, summary: dict[str, Any], part: str, removed: str) -> None:
        if self.runs:
            change = Change(summary, [removed] if removed not in summary else [])
            self.registry.write(runs.update, self.runs[-1], RunChanges(maps={part: change}))

    @rule(part=st.sampled_from(["config", "summary"]), count=st.sampled_from([1, 300, 700]))
    def grow(self, part: str, count: int) -> None:
        """Makes a map so large that changes are stored apart, and at times too large for the index."""
        if self.runs:
            Writers.count += 1
            large = {f"{Writers.count % 3}": {f"k{number}": "x" * 60 for number in range(count)}}
            self.registry.write(runs.update, self.runs[-1], RunChanges(maps={part: Change(large)}))

    @rule(maps=st.fixed_dictionaries({"config": MAPS, "summary": MAPS}), tags=TAGS)
    def begin_attempt(self, maps: dict[str, Any], tags: list[str]) -> None:
        if self.runs:
            name = self.registry.read(runs.find, self.runs[-1]).run.run_id
            self.registry.write(
                runs.create, RunSpec(ENTITY, "p", name, maps=maps, tags=tags), runs.NEW_ATTEMPT
            )

    @rule(values=MAPS, earlier=st.booleans())
    def log_metrics(self, values: dict[str, Any], earlier: bool) -> None:
        if self.runs:
            Writers.count += 1
            attempt = 1 if earlier else None
            batch = Batch("w", Writers.count, b"x", 0, 0, 1, values)
            self.registry.write(
                metrics.log, self.runs[-1], batch, summarize=True, summary={}, attempt=attempt
            )

    @rule()
    def remove_run(self) -> None:
        if self.runs:
            self.registry.write(runs.delete, self.runs.pop())

    @rule(metadata=MAPS, tags=TAGS)
    def make_version(self, metadata: dict[str, Any], tags: list[str]) -> None:
        Writers.count += 1
        version = self.registry.log("bert", str(Writers.count), metadata=metadata, tags=tags, names=["best"])
        self.versions.append(version.id)
        self.registry.link("bert", "model-registry/Churn", ["best"])

    @rule(metadata=MAPS, tags=TAGS)
    def change_version(self, metadata: dict[str, Any], tags: list[str]) -> None:
        def change(session: Session, principal: Any) -> None:
            row = resolve.version(session, principal, id_=self.versions[-1]).version
            versions.update(session, principal, row, metadata=metadata, tags=tags)

        if self.versions:
            self.registry.write(change)

    @rule()
    def delete_version(self) -> None:
        if self.versions:
            number = self.registry.read(resolve.version, id_=self.versions.pop()).version.number
            self.registry.delete(f"bert:v{number}", force=True)

    @rule(tags=TAGS)
    def tag_artifact(self, tags: list[str]) -> None:
        def change(session: Session, principal: Any) -> None:
            row = resolve.collection(session, principal, "artifact", ref=f"{ENTITY}/p/bert", lock=True)
            collections.change(session, principal, row, tags=tags, prefix="")

        if self.versions:
            self.registry.write(change)

    @invariant()
    def the_index_matches_the_rows(self) -> None:
        def check(session: Session, _: Any) -> None:
            assert indexed(session) == expected(session)
            owners_are_right(session)

        self.registry.read(check)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('index') / 'modelyard.db'}"
    else:
        url = request.getfixturevalue("postgres_database")
    database = Database(url, finish=events.flush)
    yield database
    database.close()


def test_the_index_follows_every_writer(empty_database: Database) -> None:
    Base.metadata.create_all(empty_database.engine)

    class Machine(Writers):
        registry = Registry(empty_database)

    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=6, stateful_step_count=20, deadline=None)
    )


def test_a_migration_indexes_existing_rows(empty_database: Database) -> None:
    migrations.upgrade(empty_database)
    registry = Registry(empty_database)
    run = registry.write(
        runs.create, RunSpec(ENTITY, "p", maps={"config": {"lr": 0.1}}, tags=["t"]), "never"
    )[0].run
    registry.log("bert", "a", metadata={"acc": 0.9, "on": True}, tags=["x"], names=["best"], run_id=run.id)
    registry.log("bert", "b", metadata={"acc": "high"})
    registry.delete("bert:v1", force=True)
    registry.link("bert:best", "model-registry/Churn")
    before = registry.read(lambda session, _: indexed(session))
    earlier_schemas.downgrade(empty_database, "0001")
    assert migrations.upgrade(empty_database)
    assert before
    assert registry.read(lambda session, _: indexed(session)) == before
    latest = Attempt(run.id, 1)
    maps = registry.read(lambda session, _: run_maps.read(session, [latest]))[latest]
    assert maps == {"config": {"lr": 0.1}, "summary": {}, "metadata": {}}
    registry.read(lambda session, _: owners_are_right(session))


def test_a_map_with_too_many_values_is_indexed_as_too_large_only() -> None:
    fits = {f"k{number}": number for number in range(LEAF_LIMIT)}
    assert len(rows_of("metadata", fits)) == LEAF_LIMIT
    assert rows_of("metadata", fits | {"one": {"more": True}}) == {("metadata", 0): (None, "")}


def test_keys_are_distinguished_and_too_long_ones_left_out() -> None:
    rows = rows_of(
        "metadata", {"a.b": 1, "a": {"b": 2, "c": True}, "c\\b": 3, "c": False, "k" * KEY_LIMIT: 4}
    )
    assert sorted(number for number, _ in rows.values() if number is not None) == [0, 1, 1, 2, 3]


def test_a_run_that_logs_writes_only_what_changes(tmp_path_factory: pytest.TempPathFactory) -> None:
    with sqlite_database(tmp_path_factory.mktemp("changes")) as database:
        registry = Registry(database)
        kept = {f"k{number}": number for number in range(50)}
        run = registry.write(runs.create, RunSpec(ENTITY, "p", maps={"summary": kept}), "never")[0].run

        def changes(session: Session, _: Any) -> int:
            return int(session.execute(select(func.total_changes())).scalar_one())

        def log(session: Session, principal: Any) -> int:
            before = changes(session, principal)
            batch = Batch("w", 1, b"x", 0, 0, 1, {"k7": 7, "k8": -8})
            metrics.log(session, principal, run.id, batch, summarize=True, summary={})
            session.flush()
            return changes(session, principal) - before

        assert registry.write(log) <= 5  # the batch, its log, the run, its summary, and one entry
