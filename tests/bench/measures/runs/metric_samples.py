"""Target 17: samples of a million points, and ten thousand metrics of one run, at the server."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from modelyard.v1 import metric_pb2 as pb
from modelyard_server.db.engine import Database, one_snapshot
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.runs import metrics, runs
from modelyard_server.domain.runs.metrics import HISTORY
from modelyard_server.domain.runs.run_maps import Attempt
from modelyard_server.domain.runs.runs import RunSpec
from modelyard_server.domain.series import keys, logs, packing, sampling, scans
from modelyard_server.domain.series.query import Query
from modelyard_server.rpc.wire import metric_batches, metric_samples
from tests.bench.bench import Bench, Place, say
from tests.bench.children import ChildFailed
from tests.bench.measures.search import cluster, on_postgresql, on_sqlite
from tests.bench.results import Bound, Row, Target

BUCKETS = 1000
_BATCH = 1000
_PEER = "reading all rows"
DATABASES = ("SQLite", "PostgreSQL")
QUERIES = {
    "all, by step": Query("_step", None, None, BUCKETS),
    "a tenth, by step": Query("_step", 0.45, 0.55, BUCKETS),
    "all, by time": Query("_timestamp", None, None, BUCKETS),
    "all, by another metric": Query("epoch", None, None, BUCKETS),
}
"""Ranges are parts of all steps."""
LIST = "a page of 1,000 out of 10,000 metrics"


def _target(database: str, what: str, limit: float) -> Target:
    return Target("17", f"{what} ({database})", "ms", _PEER, Bound("value", limit), Bound("value", limit / 2))


SAMPLES = {
    (database, what): _target(
        database, f"1,000,000 points to 1,000 buckets: {what}", 250 if "metric" in what else 50
    )
    for database in DATABASES
    for what in QUERIES
}
LISTS = {database: _target(database, LIST, 50) for database in DATABASES}
SCAN = "one of 10,000 metrics, all of its rows"
SCANS = {database: _target(database, SCAN, 50) for database in DATABASES}


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """The points are logged and packed by the rules, without a server."""
    with on_sqlite(folder / "samples") as database:
        yield from _on("SQLite", database, place)
    with cluster() as url, on_postgresql(url) as database:
        yield from _on("PostgreSQL", database, place)


def _on(kind: str, database: Database, place: Place) -> Iterator[Row]:
    rounds = place.size(quick=5, full=15)
    points = place.size(quick=1_000_000, full=1_000_000, tiny=5_000)
    say(f"{points:,} points on {kind}")
    run_id = filled(database, points)
    whole = _times(1, lambda: database.read(lambda session: read_all(session, run_id)))
    for what, query in QUERIES.items():
        if query.min_x is not None and query.end_x is not None:
            query = query._replace(min_x=query.min_x * points, end_x=query.end_x * points)

        def ask(query: Query = query) -> object:
            return database.read(lambda session: sampled(session, run_id, query))

        yield Row(SAMPLES[kind, what], _times(rounds, ask), whole)
    run_id = filled_widely(database, place.size(quick=10_000, full=10_000, tiny=1_000))
    whole = _times(1, lambda: database.read(lambda session: read_all(session, run_id)))
    yield Row(
        LISTS[kind], _times(rounds, lambda: database.read(lambda session: listed(session, run_id))), whole
    )
    yield Row(
        SCANS[kind], _times(rounds, lambda: database.read(lambda session: scanned(session, run_id))), whole
    )


def filled(database: Database, points: int) -> str:
    """A run with as many packed rows of a metric, and of one that counts epochs."""
    chance = random.Random(0)
    run_id = _run(database)
    for begin in range(0, points, _BATCH):
        steps = range(begin, begin + _BATCH)
        batch = pb.MetricBatch(steps=steps, timestamps=[1e9 + 0.01 * step for step in steps])
        batch.columns.add(key="loss", doubles=[chance.random() for _ in steps])
        batch.columns.add(key="epoch", doubles=[step / 1000 for step in steps])
        _log(database, run_id, begin // _BATCH + 1, batch)
    _pack(database, run_id)
    return run_id


def filled_widely(database: Database, metrics_: int) -> str:
    """A run with many metrics, packed but for its newest rows."""
    run_id = _run(database)
    for step in range(10):
        batch = pb.MetricBatch(steps=[step], timestamps=[1e9 + step])
        for number in range(metrics_):
            batch.columns.add(key=f"layer/{number}/norm", doubles=[0.5])
        _log(database, run_id, step + 1, batch)
        if step == 7:
            _pack(database, run_id)
    return run_id


def sampled(session: Session, run_id: str, query: Query) -> list[pb.SampleMetricsResponse]:
    """What SampleMetrics does in its transaction."""
    one_snapshot(session)
    log = logs.find(session, Attempt(run_id, 1), HISTORY)
    found = sampling.sample(session, log, ["loss"], query, metric_batches.decode)
    return [metric_samples.message(run_id, key, sample) for key, sample in found]


def listed(session: Session, run_id: str) -> object:
    """What ListMetricKeys does in its transaction."""
    log = logs.find(session, Attempt(run_id, 1), HISTORY)
    return keys.page(session, log, metric_batches.BatchKeys, text="", page_size=0, page_token="")


def scanned(session: Session, run_id: str) -> list[pb.MetricBatch]:
    """What ScanMetricHistory does for one metric."""
    one_snapshot(session)
    log = logs.find(session, Attempt(run_id, 1), HISTORY)
    key = "layer/777/norm"
    packed = scans.packed_rows(session, log, {key}, 0, None)
    if packed is None:
        raise ChildFailed("the batches were read instead of the series")
    found = [metric_batches.of_series(rows) for rows in packed]
    for payload in logs.waiting(session, log):
        batch = metric_batches.select(pb.MetricBatch.FromString(payload), {key}, 0, None)
        found += [batch] if batch is not None else []
    return found


def read_all(session: Session, run_id: str) -> int:
    """Reads every batch of a run, as a chart would have to without samples; how many rows it has."""
    position, rows = metrics.START, 0
    while True:
        found = metrics.batches_after(
            session,
            Attempt(run_id, 1),
            position,
            stream=HISTORY,
            min_step=0,
            end_step=None,
            most_bytes=4 << 20,
        )
        if not found:
            return rows
        rows += sum(len(metric_batches.decode(payload, None).steps) for _, payload in found)
        position = found[-1][0]


def _run(database: Database) -> str:
    made = database.write(lambda session: runs.create(session, LOCAL, RunSpec(project="p"), "never"))
    return made[0].run.id


def _log(database: Database, run_id: str, sequence: int, batch: pb.MetricBatch) -> None:
    parsed = metric_batches.parse(pb.LogMetricsRequest(writer="w", sequence=sequence, batch=batch))
    database.write(lambda session: metrics.log(session, LOCAL, run_id, parsed, summarize=False, summary={}))


def _pack(database: Database, run_id: str) -> None:
    log_id = database.read(lambda session: logs.find(session, Attempt(run_id, 1), HISTORY).id)
    while True:
        packed = database.read(lambda session: packing.pack(session, log_id, metric_batches.decode))
        if packed is None or not packed.blocks:
            return
        database.write(functools.partial(packing.store, packed=packed))


def _times(rounds: int, ask: Callable[[], object]) -> Sequence[float]:
    """Milliseconds of each call; the first, which warms up, is not counted."""
    taken = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - start) * 1000)
    return taken[1:]


BENCH = Bench("samples", (*SAMPLES.values(), *LISTS.values(), *SCANS.values()), measure)
