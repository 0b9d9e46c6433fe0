"""Target 14: pages out of many versions, beside MLflow's search; and how time grows with them."""

from __future__ import annotations

import contextlib
import functools
import http.client
import statistics
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from sqlalchemy.orm import Session

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import model_artifact_pb2_grpc
from modelyard_server.db import migrations
from modelyard_server.db.engine import Database
from modelyard_server.domain import events
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.registry import collection_lists, resolve, version_lists, versions
from tests.bench import catalogs, sides
from tests.bench.bench import Bench, Place, say
from tests.bench.catalogs import Names
from tests.bench.mlflow_catalog import fill_mlflow
from tests.bench.results import Bound, NotMeasured, Row, Target
from tests.parts.postgres import postgres_cluster

LIMITS = {"SQLite": 100, "PostgreSQL": 50}
"""Milliseconds that a page may take at the server."""
_PEER = "MLflow's REST, SQLite"
_HTTP_SECONDS = 60
_SLOW = 1000
Ask = Callable[[], object]


@dataclass(frozen=True)
class Question:
    """A page of ours, and the nearest that MLflow can be asked."""

    what: str
    filter: str = ""
    order_by: str = "create_time desc"
    theirs: str = "tag.framework = 'torch'"


QUESTIONS = (
    Question("newest", theirs=""),
    Question("metadata.acc > 0.9", "metadata.acc > 0.9"),
    Question("metadata.acc > 0.9, best first", "metadata.acc > 0.9", "metadata.acc desc"),
    Question("metadata.acc > 0.999", "metadata.acc > 0.999"),
    Question("tags: one in 1,000", 'tags : "x"', theirs="tag.rare = 'x'"),
    Question("aliases", 'aliases : "best"'),
    Question("name", 'name = "{artifact}"', theirs="name = '{model}'"),
    Question("run.summary.acc >= 0.97", "run.summary.acc >= 0.97"),
)
MODELS = "registered models whose name holds 77"
WIRE = "newest, over the wire"


def _page_target(database: str, what: str) -> Target:
    limit = LIMITS[database]
    return Target(
        "14",
        f"page on {database}: {what}",
        "ms",
        _PEER,
        Bound("value", limit),
        Bound("value", limit / 2),
    )


PAGES = {
    (database, what): _page_target(database, what)
    for database in LIMITS
    for what in (
        *(question.what for question in QUESTIONS),
        MODELS,
        *([WIRE] if database == "SQLite" else []),
    )
}
GROWTH = {
    (database, what): Target(
        "14",
        f"{what} on {database}: most versions",
        "ms",
        "1,000 versions",
        Bound("at_most", 2),
        Bound("at_most", 1.3),
    )
    for database in LIMITS
    for what in ("list", "search", "resolve")
}


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """The catalogs are written past the rules: making them through the service would take hours."""
    count = place.size(quick=20_000, full=200_000, tiny=400)
    rounds = place.size(quick=5, full=15)
    say(f"{count:,} versions")
    peers: dict[str, list[float]] = {}
    try:
        place.require_peers()
        peers = _peers(folder / "mlflow", count, rounds)
    except NotMeasured as error:
        say(str(error))
    data = folder / "pages" / "data"
    with on_sqlite(data) as database:
        names = catalogs.fill(database, count, count // 20)
        yield from _pages("SQLite", database, names, peers, rounds)
    yield Row(PAGES["SQLite", WIRE], _over_the_wire(data.parent, rounds), peers.get(QUESTIONS[0].what, ()))
    yield from _growth("SQLite", place, rounds, lambda size: on_sqlite(folder / f"growth-{size}"))
    with cluster() as url:
        with on_postgresql(url) as database:
            names = catalogs.fill(database, count, count // 20)
            yield from _pages("PostgreSQL", database, names, peers, rounds)
        yield from _growth("PostgreSQL", place, rounds, lambda size: on_postgresql(url))


def _pages(
    kind: str, database: Database, names: Names, peers: dict[str, list[float]], rounds: int
) -> Iterator[Row]:
    for question in QUESTIONS:
        asked = question.filter.replace("{artifact}", names.artifact)
        samples = milliseconds(rounds, _search(database, asked, question.order_by))
        yield Row(PAGES[kind, question.what], samples, peers.get(question.what, ()))

    def models(session: Session) -> object:
        return collection_lists.page(
            session,
            LOCAL,
            "model",
            entity="",
            project="model-registry",
            filter_='name : "77"',
            order_by="",
            page_size=50,
            page_token="",
        )

    yield Row(PAGES[kind, MODELS], milliseconds(rounds, lambda: database.read(models)), peers.get(MODELS, ()))


def _search(database: Database, filter_: str, order_by: str) -> Ask:
    def page(session: Session) -> object:
        rows, _ = version_lists.page(
            session, LOCAL, filter_=filter_, order_by=order_by, page_size=50, page_token=""
        )
        return versions.describe(session, LOCAL, rows)

    return lambda: database.read(page)


def _growth(
    kind: str,
    place: Place,
    rounds: int,
    opened: Callable[[int], contextlib.AbstractContextManager[Database]],
) -> Iterator[Row]:
    """The same questions to a small catalog and to a large one."""
    sizes = (
        place.size(quick=1_000, full=1_000, tiny=100),
        place.size(quick=30_000, full=1_000_000, tiny=200),
    )
    taken: dict[int, dict[str, list[float]]] = {}
    for size in sizes:
        say(f"{size:,} versions on {kind}")
        with opened(size) as database:
            names = catalogs.fill(database, size, size // 20)
            taken[size] = {
                "list": milliseconds(rounds, _search(database, "", "create_time desc")),
                "search": milliseconds(rounds, _search(database, "metadata.acc > 0.9", "create_time desc")),
                "resolve": milliseconds(10 * rounds, _resolve(database, names.alias)),
            }
    for what in ("list", "search", "resolve"):
        yield Row(GROWTH[kind, what], taken[sizes[1]][what], taken[sizes[0]][what])


def _resolve(database: Database, ref: str) -> Ask:
    return lambda: database.read(lambda session: resolve.version(session, LOCAL, ref=ref, alone=True))


def milliseconds(rounds: int, ask: Ask) -> list[float]:
    """Milliseconds of each call; the first, which warms up, is not counted."""
    taken = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - start) * 1000)
    return taken[1:]


def _over_the_wire(folder: Path, rounds: int) -> list[float]:
    with sides.modelyard_server(folder) as side, grpc.insecure_channel(side.address) as channel:
        stub = model_artifact_pb2_grpc.ModelArtifactServiceStub(channel)
        request = pb.ListModelArtifactVersionsRequest(page_size=50)
        return milliseconds(rounds, lambda: stub.ListModelArtifactVersions(request))


def _peers(folder: Path, count: int, rounds: int) -> dict[str, list[float]]:
    """MLflow's pages of as many versions. Raises NotMeasured."""
    asked = {
        question.what: ("model-versions", question.theirs.replace("{model}", "model-7"))
        for question in QUESTIONS
    }
    asked[MODELS] = ("registered-models", "name LIKE '%77%'")
    found: dict[tuple[str, str], list[float]] = {}
    with sides.mlflow_server(folder) as side:
        fill_mlflow(side.folder / "mlflow.db", count, count // 20)
        for what, question in asked.items():
            if question not in found:
                ask = functools.partial(_http, side.address, *question)
                once = milliseconds(1, ask)
                # One answer is enough where each takes seconds.
                found[question] = once if once[0] > _SLOW else milliseconds(rounds, ask)
                say(f"MLflow, {what}: {statistics.median(found[question]):,.0f} ms")
    return {what: found[question] for what, question in asked.items()}


def _http(address: str, kind: str, filter_: str) -> bytes:
    query = urllib.parse.urlencode({"max_results": 50, **({"filter": filter_} if filter_ else {})})
    connection = http.client.HTTPConnection(address, timeout=_HTTP_SECONDS)
    try:
        connection.request("GET", f"/api/2.0/mlflow/{kind}/search?{query}")
        reply = connection.getresponse()
        body = reply.read()
    except OSError as error:
        raise NotMeasured(f"MLflow does not answer a search in {_HTTP_SECONDS} s: {error}") from error
    finally:
        connection.close()
    if reply.status != 200:
        raise NotMeasured(f"MLflow refuses a search: {body[:200]!r}")
    return body


@contextlib.contextmanager
def on_sqlite(folder: Path) -> Iterator[Database]:
    folder.mkdir(parents=True)
    with contextlib.closing(
        Database(f"sqlite:///{folder / 'modelyard.db'}", finish=events.flush)
    ) as database:
        migrations.upgrade(database)
        yield database


@contextlib.contextmanager
def on_postgresql(url: str) -> Iterator[Database]:
    import psycopg

    name = f"bench_{time.monotonic_ns()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    place = url.removesuffix("postgres") + name
    with contextlib.closing(Database(place, finish=events.flush)) as database:
        migrations.upgrade(database)
        yield database


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(postgres_cluster())
        except pytest.skip.Exception as error:
            raise NotMeasured(str(error)) from error
        yield url


BENCH = Bench("search", (*PAGES.values(), *GROWTH.values()), measure)
