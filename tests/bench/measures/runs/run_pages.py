"""Target 14: pages out of many runs, at the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from modelyard_server.db.engine import Database
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.runs import run_lists
from modelyard_server.domain.runs.run_lists import Shown
from tests.bench.bench import Bench, Place, say
from tests.bench.measures.search import LIMITS, cluster, milliseconds, on_postgresql, on_sqlite
from tests.bench.results import Bound, Row, Target
from tests.inprocess import run_catalog


@dataclass(frozen=True)
class Question:
    """A page of runs."""

    what: str
    filter: str = ""
    order_by: str = ""
    total: bool = False


_GOOD = 'state = "finished" AND summary.acc > 0.9'
QUESTIONS = (
    Question("newest", total=True),
    Question("finished, summary.acc > 0.9", _GOOD),
    Question("finished, summary.acc > 0.9, best first", _GOOD, "summary.acc desc"),
    Question("finished, summary.acc > 0.9, with their number", _GOOD, total=True),
    Question("config.lr = 0.1, least loss first", "config.lr = 0.1", "summary.loss"),
    Question("tags: one in 1,000", 'tags : "rare"', total=True),
    Question("by state", "", "state"),
)


def _target(database: str, what: str) -> Target:
    limit = LIMITS[database]
    return Target(
        "14",
        f"page of runs on {database}: {what}",
        "ms",
        "the newest, without a filter",
        Bound("value", limit),
        Bound("value", limit / 2),
    )


PAGES = {
    (database, question.what): _target(database, question.what)
    for database in LIMITS
    for question in QUESTIONS
}


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """The runs are written past the rules."""
    count = place.size(quick=20_000, full=100_000, tiny=500)
    rounds = place.size(quick=5, full=15)
    say(f"{count:,} runs")
    with on_sqlite(folder / "runs") as database:
        run_catalog.fill(database, count)
        yield from _pages("SQLite", database, rounds)
    with cluster() as url, on_postgresql(url) as database:
        run_catalog.fill(database, count)
        yield from _pages("PostgreSQL", database, rounds)


def _pages(kind: str, database: Database, rounds: int) -> Iterator[Row]:
    plain = _samples(database, Question("plain"), rounds)
    for question in QUESTIONS:
        yield Row(PAGES[kind, question.what], _samples(database, question, rounds), plain)


def _samples(database: Database, question: Question, rounds: int) -> list[float]:
    def page(session: Session) -> object:
        return run_lists.page(
            session,
            LOCAL,
            "",
            run_catalog.PROJECT,
            filter_=question.filter,
            order_by=question.order_by,
            page_size=50,
            page_token="",
            shown=Shown(3 << 20, total=question.total),
        )

    return milliseconds(rounds, lambda: database.read(page))


BENCH = Bench("run-pages", tuple(PAGES.values()), measure)
