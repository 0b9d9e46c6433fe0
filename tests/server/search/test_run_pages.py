"""Pages of runs read a small part of the database, however many runs there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from modelyard_server.db.engine import Database
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.runs import run_lists, runs
from modelyard_server.domain.runs.run_lists import RunPage, Shown
from tests.inprocess import run_catalog
from tests.inprocess.databases import EmptyDatabases, opened, sqlite_database

pytestmark = pytest.mark.slow
COUNT = 30_000
STATEMENTS = 8
"""Scope, counts of the filter's comparisons, the page, its names, sizes and maps."""
MOST = {"sqlite": 400_000, "postgresql": 25_000}
"""Steps of SQLite's machine, pages of PostgreSQL's buffers. A look at every run takes several times more."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        with sqlite_database(tmp_path_factory.mktemp("pages")) as made:
            run_catalog.fill(made, COUNT)
            yield made
    else:
        databases: EmptyDatabases = request.getfixturevalue("empty_databases")
        with databases.one() as url, opened(url) as made:
            run_catalog.fill(made, COUNT)
            yield made


def page(session: Session, filter_: str, order_by: str, project: str) -> RunPage:
    return run_lists.page(
        session,
        LOCAL,
        "local",
        project,
        filter_=filter_,
        order_by=order_by,
        page_size=50,
        page_token="",
        shown=Shown(1 << 20),
    )


def work(database: Database, ask: Callable[[Session], object]) -> tuple[int, int]:
    """What the database does for a question: its statements, and steps or buffers."""
    statements: list[tuple[str, Any]] = []
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1000

    def run(session: Session) -> None:
        engine = session.get_bind()
        raw = session.connection().connection.driver_connection
        assert raw is not None

        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            statements.append((statement, parameters))

        event.listen(engine, "before_cursor_execute", note)
        if database.is_sqlite:
            raw.set_progress_handler(step, 1000)
        try:
            ask(session)
        finally:
            event.remove(engine, "before_cursor_execute", note)
            if database.is_sqlite:
                raw.set_progress_handler(None, 0)

    database.read(run)
    if database.is_sqlite:
        return len(statements), steps
    return len(statements), sum(buffers(database, *statement) for statement in statements)


def buffers(database: Database, statement: str, parameters: Any) -> int:
    def explain(session: Session) -> int:
        explained = session.connection().exec_driver_sql(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters
        )
        plan = explained.scalar_one()[0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    return database.read(explain)


FILTERS = (
    "",
    'state = "finished" AND summary.acc > 0.9',
    'state = "failed" AND summary.acc > 0.9',
    "summary.acc > 0.9999",
    "config.lr = 0.1",
    "config.lr = 0.1 AND summary.acc > 0.9",
    'tags : "baseline"',
    'tags : "rare"',
    'name = "run77"',
    "config.seed = 77",
)
ORDERS = (
    "",
    "create_time",
    "state",
    "summary.acc desc",
    "summary.loss",
    "config.model.depth desc",
    "config.model.name",
)


@pytest.mark.parametrize("project", ["", run_catalog.PROJECT])
@pytest.mark.parametrize("filter_", FILTERS)
def test_a_page_takes_few_statements_and_little_work(database: Database, filter_: str, project: str) -> None:
    for order_by in ORDERS:
        statements, effort = work(
            database, lambda session, order=order_by: page(session, filter_, order, project)
        )
        assert statements <= STATEMENTS + (5 if order_by == "state" else 3), order_by
        assert effort < MOST["sqlite" if database.is_sqlite else "postgresql"], order_by


def test_the_sweep_looks_at_running_runs_alone(database: Database) -> None:
    _, effort = work(database, runs.mark_silent_crashed)
    assert effort < (10_000 if database.is_sqlite else 50)
