"""Series of metrics: packed or waiting, samples and keys are those of the points that were logged."""

from __future__ import annotations

import functools
import itertools
import math
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.v1 import metric_pb2 as pb
from modelyard_server.db import migrations
from modelyard_server.db.engine import Database, one_snapshot
from modelyard_server.db.tables import MetricBatch, MetricBlock, MetricKey, MetricLog, MetricSegment
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.runs import metrics, removals, runs
from modelyard_server.domain.runs.metrics import HISTORY, SYSTEM
from modelyard_server.domain.runs.run_maps import Attempt
from modelyard_server.domain.runs.runs import RunSpec
from modelyard_server.domain.series import blocks, due, keys, logs, packing, sampling, scans
from modelyard_server.domain.series.keys import KeyRow
from modelyard_server.domain.series.query import Query
from modelyard_server.rpc.wire import metric_batches, metric_samples
from modelyard_server.rpc.wire.convert import python_to_value
from tests.inprocess import earlier_schemas
from tests.inprocess.databases import opened
from tests.inprocess.metric_oracle import MetricOracle, differences
from tests.inprocess.registry import ENTITY, Registry

Points = Sequence[dict[str, Any]]


class LoggedRun:
    """A run of a registry, and an oracle that has the same points."""

    def __init__(self, registry: Registry, stream: int = HISTORY) -> None:
        self.registry = registry
        self.stream = stream
        self.run = registry.write(runs.create, RunSpec(ENTITY, "p"), "never")[0].run
        self.oracle = MetricOracle(started=self.run.created_at / 1e6)
        self._sequences = itertools.count(1)

    def log(self, steps: Sequence[int], points: Points, times: Sequence[float] | None = None) -> None:
        """Logs a batch."""
        times = [1000.0 + step for step in steps] if times is None else times
        self.send(steps, points, times)
        self.oracle.add(steps, times, points)

    def send(self, steps: Sequence[int], points: Points, times: Sequence[float]) -> metrics.Stored:
        """Logs a batch that the oracle does not get."""
        request = pb.LogMetricsRequest(
            writer=f"writer {self.stream}",
            sequence=next(self._sequences),
            batch=message(steps, times, points),
            stream=self.stream,
        )
        batch = metric_batches.parse(request)
        return self.registry.write(metrics.log, self.run.id, batch, summarize=False, summary={})

    def pack(self) -> packing.Packed:
        """What the next round of packing finds; it stores nothing."""
        packed = self.registry.database.read(
            lambda session: packing.pack(session, self.log_row.id, metric_batches.decode)
        )
        assert packed is not None
        return packed

    def store(self, packed: packing.Packed) -> bool:
        """Stores it."""
        return self.registry.database.write(lambda session: packing.store(session, packed))

    def pack_all(self) -> None:
        """Packs until nothing waits."""
        while (packed := self.pack()).blocks:
            assert self.store(packed)

    @property
    def log_row(self) -> MetricLog:
        """The row of the log."""
        return self.registry.database.read(lambda session: logs.find(session, self.attempt, self.stream))

    @property
    def attempt(self) -> Attempt:
        """The run's only attempt."""
        return Attempt(self.run.id, 1)

    def samples(self, wanted: Sequence[str], query: Query) -> dict[str, pb.SampleMetricsResponse]:
        """Samples by metric."""

        def read(session: Session) -> dict[str, pb.SampleMetricsResponse]:
            one_snapshot(session)
            log = logs.find(session, self.attempt, self.stream)
            found = sampling.sample(session, log, wanted, query, metric_batches.decode)
            return {key: metric_samples.message(self.run.id, key, sample) for key, sample in found}

        started = self.run.created_at / 1e6
        query = query._replace(started=started)
        return self.registry.database.read(read)

    def check(self, wanted: Sequence[str], query: Query) -> None:
        """Compares samples with the oracle's."""
        found = self.samples(wanted, query)
        for key in wanted:
            expected = self.oracle.sample(key, *query[:4])
            assert (key in found) == (expected is not None), (key, query)
            if expected is not None:
                assert differences(found[key], expected) == [], (key, query)

    def key_rows(self, **options: Any) -> list[KeyRow]:
        """A page of the metrics."""
        options = {"text": "", "page_size": 0, "page_token": "", **options}

        def read(session: Session) -> list[KeyRow]:
            log = logs.find(session, self.attempt, self.stream)
            return keys.page(session, log, metric_batches.BatchKeys, **options)[0]

        return self.registry.database.read(read)

    def count(self, table: Any) -> int:
        """Rows of a table, of all runs."""
        counted = select(func.count()).select_from(table)
        return self.registry.database.read(lambda session: session.scalar(counted)) or 0


def message(steps: Sequence[int], times: Sequence[float], points: Points) -> pb.MetricBatch:
    """A batch of rows, with columns of the kind that their points need."""
    batch = pb.MetricBatch(steps=steps, timestamps=times)
    for key in sorted({key for row in points for key in row}):
        rows = [index for index, row in enumerate(points) if key in row]
        own = [points[index][key] for index in rows]
        column = batch.columns.add(key=key, rows=rows if len(rows) < len(steps) else ())
        if all(type(point) is float for point in own):
            column.doubles.extend(own)
        elif all(type(point) is int for point in own):
            column.ints.extend(own)
        else:
            column.values.extend([python_to_value(point) for point in own])
    return batch


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of eight rows, so that few points make many of them, and parts of twenty points."""
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 8)
    monkeypatch.setattr(sampling, "_PART_POINTS", 20)


AXES = ("_step", "_timestamp", "_runtime", "epoch")
KEYS = ("loss", "spiky", "count", "mixed", "text", "rare", "epoch", "absent")


def random_point(chance: random.Random, key: str, step: int) -> Any:
    """A point of its metric's kind."""
    if key == "epoch":
        return step // 10 if chance.random() < 0.9 else math.nan
    if key == "count":
        return chance.choice((step, -step, 2**53 + 1, 2**62))
    if key == "spiky":
        return chance.choice((chance.random(), math.nan, math.inf, -math.inf, 1e300, -0.0))
    if key == "mixed":
        return chance.choice((1, 0.5, "x", True, None, [1, 2]))
    return "x" if key == "text" else chance.gauss(0, 1)


def random_batch(chance: random.Random, begin: int) -> tuple[list[int], Points, list[float]]:
    """Rows from a step on, some with equal steps, some sparse."""
    steps = sorted(begin + chance.randrange(30) for _ in range(chance.randrange(1, 40)))
    if chance.random() < 0.2:
        steps = [begin] * len(steps)
    times = [1000.0 + step + chance.choice((0, 0.5, 0.25, -300)) for step in steps]
    present = [key for key in KEYS if key != "absent" and chance.random() < 0.8]
    dense = chance.random() < 0.3
    rows = [
        {
            key: random_point(chance, key, step)
            for key in present
            if dense or chance.random() < (0.1 if key == "rare" else 0.7)
        }
        for step in steps
    ]
    return steps, rows, times


def random_query(chance: random.Random, last_step: int) -> Query:
    """Any axis, some with a range."""
    axis = chance.choice(AXES)
    origin = {"_step": 0.0, "epoch": 0.0, "_timestamp": 1000.0, "_runtime": 0.0}[axis]
    span = last_step / 10 if axis == "epoch" else float(last_step)
    ends = sorted(origin + chance.uniform(-0.2, 1.2) * span for _ in range(2))
    start = ends[0] if chance.random() < 0.4 else None
    end = ends[1] + 1e-3 if chance.random() < 0.4 else None
    if axis == "_runtime":
        start = end = None
    return Query(axis, start, end, chance.choice((1, 2, 3, 7, 50, 1000)))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("small_blocks")
def test_samples_are_those_of_a_naive_computation(registry: Registry, seed: int) -> None:
    chance = random.Random(seed)
    logged = LoggedRun(registry)
    begin = 0
    for _ in range(12):
        late = chance.random() < 0.25
        logged.log(*random_batch(chance, chance.randrange(begin + 1) if late else begin))
        begin += chance.choice((0, 10, 30, 31, 100))
        if chance.random() < 0.3:
            logged.store(logged.pack())
        for _ in range(3):
            logged.check(KEYS, random_query(chance, begin + 1))
    logged.pack_all()
    for _ in range(20):
        logged.check(KEYS, random_query(chance, begin + 1))


@pytest.mark.usefixtures("small_blocks")
def test_steps_up_to_the_largest_and_equal_ones_are_in_their_buckets(registry: Registry) -> None:
    logged = LoggedRun(registry)
    logged.log([0, 0, 0, 2**53 - 1, 2**53], [{"a": float(n)} for n in range(5)])
    logged.log([7] * 30, [{"a": n} for n in range(30)], [1000.0 + n % 3 for n in range(30)])
    for packed in (False, True):
        if packed:
            logged.pack_all()
        for count in (1, 3, 1000):
            logged.check(["a"], Query("_step", None, None, count))
            logged.check(["a"], Query("_step", 5.0, 2.0**53, count))
            logged.check(["a"], Query("_timestamp", None, None, count))


def test_values_as_large_as_numbers_get_still_make_buckets(registry: Registry) -> None:
    logged = LoggedRun(registry)
    logged.log([0, 1, 2], [{"x": x, "y": 1.0} for x in (-1.7e308, 0.0, 1.7e308)])
    found = logged.samples(["y"], Query("x", None, None, 2))["y"]
    assert (list(found.buckets), list(found.counts)) == ([0, 1], [1, 2])


@pytest.mark.usefixtures("small_blocks")
def test_two_writers_of_one_run_are_merged_by_step(registry: Registry) -> None:
    logged = LoggedRun(registry)
    for begin in range(0, 200, 10):
        for rank in range(2):
            steps = list(range(begin, begin + 10))
            logged.log(
                steps, [{"loss": step + rank / 2} for step in steps], [50.0 + step + rank for step in steps]
            )
        if begin % 50 == 0:
            logged.pack_all()
        logged.check(["loss"], Query("_step", None, None, 15))
    found = logged.samples(["loss"], Query("_step", None, None, 200))["loss"]
    assert list(found.counts) == [2] * 200
    assert list(found.firsts) == [float(step) for step in range(200)]
    assert list(found.lasts) == [step + 0.5 for step in range(200)]


def test_rows_that_come_one_by_one_end_in_few_blocks(registry: Registry) -> None:
    logged = LoggedRun(registry)
    for step in range(120):
        logged.log([step], [{"loss": float(step), "text": "x"}])
        if step % 3 == 2:
            logged.pack_all()
    assert logged.count(MetricBlock) <= 8
    assert logged.count(MetricSegment) <= 8
    logged.check(["loss"], Query("_step", None, None, 10))
    assert logged.log_row.waiting == 0
    assert logged.count(MetricBatch) == 120


def test_of_two_that_pack_the_same_batches_one_stores_them(registry: Registry) -> None:
    logged = LoggedRun(registry)
    logged.log([0, 1], [{"a": 1.0}, {"a": 2.0}])
    first, second = logged.pack(), logged.pack()
    logged.log([2], [{"a": 3.0}])
    assert logged.store(first)
    assert not logged.store(second)
    assert logged.count(MetricBlock) == 1
    logged.check(["a"], Query("_step", None, None, 3))
    assert logged.key_rows() == [KeyRow("a", 3, 3, 0, 2)]


def test_a_deleted_run_is_not_packed_and_gives_its_rows_back(registry: Registry) -> None:
    logged, other = LoggedRun(registry), LoggedRun(registry)
    for own in (logged, other):
        own.log(list(range(10)), [{"a": 1.0, "b": "x"}] * 10)
        own.pack_all()
        own.log([10], [{"a": 1.0}])
    packed = logged.pack()
    registry.write(runs.delete, logged.run.id)
    assert not logged.store(packed)
    while registry.database.write(removals.remove_waiting) == removals.SWEEP_BATCH:
        pass
    for table, left in (
        (MetricLog, 1),
        (MetricKey, 2),
        (MetricBlock, 1),
        (MetricSegment, 1),
        (MetricBatch, 2),
    ):
        assert logged.count(table) == left, table
    other.check(["a"], Query("_step", None, None, 3))


def test_what_weighs_enough_is_due_until_it_is_packed(registry: Registry) -> None:
    logged = LoggedRun(registry)
    steps = list(range(1000))
    due_now = [logged.send(steps, [{"a": 1.0}] * 1000, [1.0] * 1000).is_due for _ in range(4)]
    assert due_now == [False, False, False, True]
    assert registry.database.read(due.logs) == [logged.log_row.id]
    logged.pack_all()
    assert registry.database.read(due.logs) == []


def test_a_log_that_counts_more_than_waits_is_due_once(registry: Registry) -> None:
    logged = LoggedRun(registry)
    logged.log([0], [{"a": 1.0}])

    def inflate(session: Session, _: Principal) -> None:
        session.get_one(MetricLog, logged.log_row.id).waiting = 1 << 40

    registry.write(inflate)
    logged.pack_all()
    logged.store(logged.pack())
    assert registry.database.read(due.logs) == []


def test_keys_count_the_points_of_packed_and_of_waiting_batches(registry: Registry) -> None:
    logged = LoggedRun(registry)
    logged.log([3, 4], [{"loss": 1.0, "note": "x"}, {"loss": 2}])
    logged.pack_all()
    logged.log([1, 5], [{"mixed": 1}, {"loss": math.nan, "mixed": "x"}])
    expected = [KeyRow("loss", 3, 3, 3, 5), KeyRow("mixed", 2, 1, 1, 5), KeyRow("note", 1, 0, 3, 3)]
    assert logged.key_rows() == expected
    logged.pack_all()
    assert logged.key_rows() == expected


def test_keys_are_found_by_a_part_of_their_name_and_paged_by_bytes(registry: Registry) -> None:
    logged = LoggedRun(registry)
    names = ["Ärger", "a", "b/Loss", "loss", "z", "損失", "\U0001f600", "ﬀ"]
    logged.log([0], [dict.fromkeys(names, 1.0)])
    logged.pack_all()
    ordered = sorted(names, key=str.encode)
    assert [row.key for row in logged.key_rows()] == ordered
    assert [row.key for row in logged.key_rows(text="LOSS")] == ["b/Loss", "loss"]
    assert [row.key for row in logged.key_rows(text="ärg")] == ["Ärger"]


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database that migrations made."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'test.db'}" if sqlite else request.getfixturevalue("postgres_database")
    with opened(url) as database:
        migrations.upgrade(database)
        yield database


def test_batches_of_an_earlier_release_are_sampled_and_packed(migrated: Database) -> None:
    registry = Registry(migrated)
    logged = LoggedRun(registry)
    logged.log([0, 1], [{"a": 1.0}, {"a": 2}])
    logged.log(list(range(2, 6000)), [{"a": float(step)} for step in range(2, 6000)])
    earlier_schemas.downgrade(registry.database, "0011")
    migrations.upgrade(registry.database)
    assert registry.database.read(due.logs) == [logged.log_row.id]
    for _ in range(2):
        logged.check(["a"], Query("_step", None, None, 9))
        assert logged.key_rows() == [KeyRow("a", 6000, 6000, 0, 5999)]
        logged.pack_all()
    logged.store(logged.pack())
    assert registry.database.read(due.logs) == []


@pytest.mark.usefixtures("small_blocks")
def test_tiles_without_places_of_an_earlier_release_make_the_same_samples(registry: Registry) -> None:
    chance = random.Random(5)
    logged = LoggedRun(registry)
    for begin in range(0, 300, 30):
        logged.log(*random_batch(chance, begin))
    logged.pack_all()

    def forget(session: Session, _: Principal) -> None:
        earlier = session.scalars(select(MetricSegment).where(MetricSegment.id % 3 != 0)).all()
        assert len(earlier) > 20
        for segment in earlier:
            segment.places = None

    registry.write(forget)
    for _ in range(30):
        logged.check(KEYS, random_query(chance, 301))


def test_a_line_through_the_points_of_a_bucket_goes_through_logged_points(registry: Registry) -> None:
    logged = LoggedRun(registry)
    values = [math.sin(step / 9) * step for step in range(20_000)]
    for begin in range(0, 20_000, 5000):
        steps = range(begin, begin + 5000)
        logged.log(steps, [{"a": values[step]} for step in steps], [7.0 + step for step in steps])
        logged.pack_all()
    for axis, origin in (("_step", 0.0), ("_timestamp", 7.0)):
        found = logged.samples(["a"], Query(axis, None, None, 3))["a"]
        for xs, ys in (
            (found.first_value_xs, found.firsts),
            (found.min_xs, found.mins),
            (found.max_xs, found.maxes),
            (found.last_value_xs, found.lasts),
        ):
            assert list(ys) == [values[int(x - origin)] for x in xs]


def scanned(logged: LoggedRun, wanted: set[str], begin: int, end: int | None) -> list[pb.MetricBatch] | None:
    """What a scan reads from series; None where it reads batches."""

    def read(session: Session) -> list[pb.MetricBatch] | None:
        log = logs.find(session, logged.attempt, logged.stream)
        found = scans.packed_rows(session, log, wanted, begin, end)
        return None if found is None else [metric_batches.of_series(rows) for rows in found]

    return logged.registry.database.read(read)


def rows_of(batches: Sequence[pb.MetricBatch]) -> list[tuple[int, float, str]]:
    """Steps, times and points of rows, sorted; a point as text, which tells 1 from 1.0."""
    rows: list[tuple[int, float, dict[str, Any]]] = []
    for batch in batches:
        own: list[dict[str, Any]] = [{} for _ in batch.steps]
        for column in batch.columns:
            for row, point in zip(
                column.rows or range(len(own)), [*column.doubles, *column.ints], strict=True
            ):
                own[row][column.key] = point
        rows += zip(batch.steps, batch.timestamps, own, strict=True)
    return sorted((step, time, repr(sorted(points.items()))) for step, time, points in rows)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.usefixtures("small_blocks")
def test_a_scan_of_few_metrics_reads_their_rows_from_series(registry: Registry, seed: int) -> None:
    chance = random.Random(seed)
    logged = LoggedRun(registry)
    begin = 0
    for _ in range(10):
        steps, points, times = random_batch(chance, begin)
        for point in points:
            point.pop("count", None)
            point |= {"count": steps[0]} if chance.random() < 0.5 else {}
            point |= {"epoch": 0.5} if "epoch" in point else {}
        logged.log(steps, points, times)
        begin += chance.choice((0, 10, 31))
        if chance.random() < 0.5:
            logged.store(logged.pack())
    logged.pack_all()
    for wanted in ({"loss"}, {"count", "rare"}, {"spiky", "count", "epoch"}, {"absent"}):
        for first, end in ((0, None), (begin // 3, 2 * begin // 3 + 1)):
            found = scanned(logged, wanted, first, end)
            assert found is not None
            assert [batch.steps[0] for batch in found] == sorted(batch.steps[0] for batch in found)
            assert all(list(batch.steps) == sorted(batch.steps) for batch in found)
            expected = [
                (
                    row.step,
                    row.time,
                    repr(sorted((key, row.points[key]) for key in wanted & row.points.keys())),
                )
                for row in logged.oracle.rows
                if wanted & row.points.keys() and first <= row.step and (end is None or row.step < end)
            ]
            assert rows_of(found) == sorted(expected)


def test_a_scan_reads_batches_where_series_do_not_hold_what_was_logged(registry: Registry) -> None:
    logged = LoggedRun(registry)
    logged.log([0, 1], [{"turns": 1, "large": 2**53 + 1, "text": "x", "a": 1.0, "edge": 2**53}] * 2)
    logged.log([2], [{"turns": 1.5, "a": 2.0}])
    logged.pack_all()
    for key, is_read in (("turns", False), ("large", False), ("text", False), ("a", True), ("edge", True)):
        assert (scanned(logged, {key}, 0, None) is not None) == is_read, key

    def forget(session: Session, _: Principal) -> None:
        session.scalars(select(MetricKey).where(MetricKey.key == "edge")).one().kinds = None

    registry.write(forget)
    logged.log([3], [{"edge": 4}])
    logged.pack_all()
    assert scanned(logged, {"edge"}, 0, None) is None


def test_a_scan_reads_batches_where_series_have_too_many_points(registry: Registry) -> None:
    logged = LoggedRun(registry)
    steps = range(scans.MOST_POINTS)
    for begin in range(0, len(steps), 100_000):
        part = steps[begin : begin + 100_000]
        logged.send(part, [{"a": 0.5}] * len(part), [1000.0] * len(part))
    logged.pack_all()
    assert scanned(logged, {"a"}, 0, None) is not None
    logged.send([len(steps)], [{"a": 1.0}], [1000.0])
    logged.pack_all()
    assert scanned(logged, {"a"}, 0, None) is None


def test_the_streams_of_a_run_are_apart(registry: Registry) -> None:
    logged = LoggedRun(registry)
    system = LoggedRun(registry, SYSTEM)
    system.run = logged.run
    logged.log([0], [{"a": 1.0}])
    system.send([0, 1], [{"cpu": 1.0}, {"cpu": 2.0}], [1.0, 2.0])
    logged.pack_all()
    system.pack_all()
    assert logged.key_rows() == [KeyRow("a", 1, 1, 0, 0)]
    assert system.key_rows() == [KeyRow("cpu", 2, 2, 0, 1)]


@pytest.mark.usefixtures("small_blocks")
def test_samples_see_whole_batches_while_others_log_and_pack(registry: Registry) -> None:
    logged = LoggedRun(registry)
    end = threading.Event()
    size = 5

    def log() -> None:
        for begin in range(0, 60 * size, size):
            steps = list(range(begin, begin + size))
            logged.send(steps, [{"a": float(step)} for step in steps], [1000.0 + step for step in steps])
        end.set()

    def pack() -> None:
        while not end.is_set():
            logged.store(logged.pack())

    def sample() -> int:
        seen = 0
        while not end.is_set():
            found = logged.samples(["a"], Query("_step", None, None, 4))
            if not found:
                continue
            count = found["a"].point_count
            assert count % size == 0
            assert sum(found["a"].sums) == count * (count - 1) / 2
            assert count >= seen
            seen = count
        return seen

    logged.send([0], [{"b": 1.0}], [1.0])  # makes the log
    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(run) for run in (pack, pack, sample, sample, log)]
        for each in work:
            each.result()
    logged.pack_all()
    assert logged.samples(["a"], Query("_step", None, None, 1))["a"].sums[0] == 300 * 299 / 2


@functools.cache
def a_million() -> list[float]:
    """Points of a walk, with one spike."""
    chance = random.Random(1)
    walk = list(itertools.accumulate(chance.gauss(0, 1) for _ in range(1_000_000)))
    walk[654_321] = 1e9
    return walk


def test_a_spike_of_one_point_in_a_million_is_kept(registry: Registry) -> None:
    logged = LoggedRun(registry)
    values = a_million()
    for begin in range(0, len(values), 100_000):
        steps = range(begin, begin + 100_000)
        logged.send(
            steps, [{"walk": value} for value in values[begin : begin + 100_000]], [float(s) for s in steps]
        )
        logged.pack_all()
    found = logged.samples(["walk"], Query("_step", None, None, 1000))["walk"]
    assert found.point_count == len(values)
    assert [bucket for bucket, most in zip(found.buckets, found.maxes, strict=True) if most == 1e9] == [654]
    zoomed = logged.samples(["walk"], Query("_step", 654_000.0, 655_000.0, 1000))["walk"]
    assert list(zoomed.firsts) == values[654_000:655_000]


def test_too_many_points_over_a_metric_are_refused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "MOST_POINTS", 3)
    logged = LoggedRun(registry)
    logged.log([0, 1, 2], [{"a": 1.0, "x": 0.0}] * 3)
    logged.check(["a"], Query("x", None, None, 2))
    logged.log([3], [{"a": 1.0, "x": 1.0}])
    with pytest.raises(errors.InvalidField, match="ask for a range"):
        logged.samples(["a"], Query("x", None, None, 2))


def test_only_numbers_are_in_samples(registry: Registry) -> None:
    logged = LoggedRun(registry)
    logged.log([0, 1, 2], [{"m": 1, "t": "x"}, {"m": True}, {"m": 2.5}])
    found = logged.samples(["m", "t"], Query("_step", None, None, 10))
    assert list(found) == ["m"]
    assert list(found["m"].firsts) == [1.0, 2.5]
