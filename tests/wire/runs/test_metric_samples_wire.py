"""Keys and samples of metrics over the wire, on both databases."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from typing import Any

import grpc
import pytest

from modelyard.v1 import metric_pb2
from modelyard.v1 import run_pb2 as pb
from modelyard_server.rpc.wire.convert import python_to_value
from tests.clients.waiting import until
from tests.parts.server import Factory, LiveServer, Stubs, fields, new_project, reason

SYSTEM = metric_pb2.METRIC_STREAM_SYSTEM
NUMBER, OTHER = metric_pb2.METRIC_KIND_NUMBER, metric_pb2.METRIC_KIND_OTHER
_sequences = itertools.count(1)


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


@pytest.fixture
def run(stubs: Stubs) -> pb.Run:
    return make(stubs)


def make(stubs: Stubs) -> pb.Run:
    made: pb.Run = stubs.runs.CreateRun(pb.CreateRunRequest(run=pb.Run(project=new_project()))).run
    return made


def column(key: str, points: list[Any], rows: list[int] | None = None) -> metric_pb2.MetricColumn:
    kinds = set(map(type, points))
    if kinds == {float}:
        return metric_pb2.MetricColumn(key=key, rows=rows, doubles=points)
    if kinds == {int}:
        return metric_pb2.MetricColumn(key=key, rows=rows, ints=points)
    return metric_pb2.MetricColumn(key=key, rows=rows, values=[python_to_value(point) for point in points])


def log(stubs: Stubs, run: pb.Run, steps: list[int], *columns: metric_pb2.MetricColumn, **more: Any) -> None:
    times = [run.create_time.seconds + 10.0 + step for step in steps]
    batch = metric_pb2.MetricBatch(steps=steps, timestamps=times, columns=columns)
    sequence = next(_sequences)
    stubs.metrics.LogMetrics(
        metric_pb2.LogMetricsRequest(run_id=run.id, writer="w", sequence=sequence, batch=batch, **more)
    )


def sample(stubs: Stubs, *runs: pb.Run, **request: Any) -> list[metric_pb2.SampleMetricsResponse]:
    ids = [run.id for run in runs]
    return list(stubs.metrics.SampleMetrics(metric_pb2.SampleMetricsRequest(run_ids=ids, **request)))


def keys(stubs: Stubs, run: pb.Run, **request: Any) -> metric_pb2.ListMetricKeysResponse:
    asked = metric_pb2.ListMetricKeysRequest(run_id=run.id, **request)
    found: metric_pb2.ListMetricKeysResponse = stubs.metrics.ListMetricKeys(asked)
    return found


def test_a_bucket_has_the_extremes_and_the_ends_of_its_points(stubs: Stubs, run: pb.Run) -> None:
    log(stubs, run, list(range(8)), column("loss", [3.0, 9.0, 1.0, 2.0, math.nan, 5.0, math.inf, 4.0]))
    (found,) = sample(stubs, run, keys=["loss"], bucket_count=2)
    assert (found.run_id, found.key, found.start_x, found.bucket_width) == (run.id, "loss", 0.0, 3.5)
    assert found.point_count == 8
    assert list(found.buckets) == [0, 1]
    assert (list(found.counts), list(found.nonfinite_counts)) == ([4, 2], [0, 2])
    assert (list(found.mins), list(found.maxes)) == ([1.0, 4.0], [9.0, 5.0])
    assert (list(found.firsts), list(found.lasts)) == ([3.0, 5.0], [2.0, 4.0])
    assert list(found.sums) == [15.0, 9.0]
    assert (list(found.first_xs), list(found.last_xs)) == ([0.0, 4.0], [3.0, 7.0])
    assert (list(found.min_xs), list(found.max_xs)) == ([2.0, 7.0], [1.0, 5.0])
    assert (list(found.first_value_xs), list(found.last_value_xs)) == ([0.0, 5.0], [3.0, 7.0])


def test_a_bucket_without_finite_numbers_has_nan(stubs: Stubs, run: pb.Run) -> None:
    log(stubs, run, [0, 5], column("a", [math.inf, 1.0]))
    (found,) = sample(stubs, run, keys=["a"], bucket_count=2)
    assert (list(found.counts), list(found.nonfinite_counts)) == ([0, 1], [1, 0])
    for name in ("mins", "maxes", "firsts", "lasts", "sums"):
        first, second = getattr(found, name)
        assert (math.isnan(first), second) == (True, 1.0)
    for name in ("min_xs", "max_xs", "first_value_xs", "last_value_xs"):
        first, second = getattr(found, name)
        assert (math.isnan(first), second) == (True, 5.0)


def test_points_of_one_x_are_one_bucket_of_width_0(stubs: Stubs, run: pb.Run) -> None:
    log(stubs, run, [3, 3, 3], column("a", [1, 2, 3]))
    (found,) = sample(stubs, run, keys=["a"])
    assert (found.start_x, found.bucket_width, list(found.buckets), list(found.counts)) == (
        3.0,
        0.0,
        [0],
        [3],
    )
    assert (list(found.firsts), list(found.lasts)) == ([1.0], [3.0])


def test_samples_come_in_the_order_of_runs_and_keys_without_those_that_have_no_points(stubs: Stubs) -> None:
    one, other = make(stubs), make(stubs)
    log(stubs, one, [0], column("a", [1.0]), column("b", [2.0]), column("text", ["x"]))
    log(stubs, other, [0], column("b", [3.0]), column("損失/\U0001f600", [4.0]))
    found = sample(stubs, other, one, keys=["text", "損失/\U0001f600", "b", "a", "nope"])
    assert [(each.run_id, each.key) for each in found] == [
        (other.id, "損失/\U0001f600"),
        (other.id, "b"),
        (one.id, "b"),
        (one.id, "a"),
    ]


def test_x_may_be_the_step_the_time_the_runtime_or_a_metric(stubs: Stubs, run: pb.Run) -> None:
    log(stubs, run, [1, 2, 3], column("a", [1.0, 2.0, 3.0]), column("epoch", [7, 8], rows=[0, 2]))
    created = run.create_time.seconds + run.create_time.nanos / 1e9
    logged = run.create_time.seconds
    for axis, xs in (
        ("", [1.0, 2.0, 3.0]),
        ("_step", [1.0, 2.0, 3.0]),
        ("_timestamp", [logged + 11.0, logged + 12.0, logged + 13.0]),
        ("_runtime", [logged + 11.0 - created, logged + 12.0 - created, logged + 13.0 - created]),
        ("epoch", [7.0, 8.0]),
    ):
        (found,) = sample(stubs, run, keys=["a"], x_axis=axis)
        assert list(found.first_xs) == pytest.approx(xs, abs=1e-5), axis
    assert sample(stubs, run, keys=["a"], x_axis="nope") == []


def test_a_range_takes_the_points_from_its_begin_until_before_its_end(stubs: Stubs, run: pb.Run) -> None:
    log(stubs, run, list(range(10)), column("a", [float(n) for n in range(10)]))
    (found,) = sample(stubs, run, keys=["a"], min_x=2, end_x=6, bucket_count=4)
    assert (found.start_x, found.bucket_width, found.point_count) == (2.0, 1.0, 4)
    assert list(found.firsts) == [2.0, 3.0, 4.0, 5.0]
    (found,) = sample(stubs, run, keys=["a"], min_x=8)
    assert list(found.firsts) == [8.0, 9.0]
    assert sample(stubs, run, keys=["a"], min_x=20) == []
    assert sample(stubs, run, keys=["a"], end_x=0) == []


def test_system_rows_are_sampled_over_time(stubs: Stubs, run: pb.Run) -> None:
    log(stubs, run, [0, 0], column("cpu", [10.0, 20.0]), stream=SYSTEM)
    (found,) = sample(stubs, run, keys=["cpu"], stream=SYSTEM)
    assert list(found.first_xs) == [run.create_time.seconds + 10.0]
    assert sample(stubs, run, keys=["cpu"]) == []
    assert [key.key for key in keys(stubs, run, stream=SYSTEM).keys] == ["cpu"]
    assert not keys(stubs, run).keys


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"keys": ["a"], "bucket_count": -1}, "bucket_count"),
        ({"keys": ["a"], "bucket_count": 10_001}, "bucket_count"),
        ({"keys": [f"k{n}" for n in range(1000)], "bucket_count": 10_000, "more_runs": 1}, "bucket_count"),
        ({"keys": []}, "keys"),
        ({"keys": [f"k{n}" for n in range(1001)]}, "keys"),
        ({"keys": ["a", "a"]}, "keys"),
        ({"keys": ["a"], "x_axis": "_epoch"}, "x_axis"),
        ({"keys": ["a"], "min_x": math.nan}, "min_x"),
        ({"keys": ["a"], "end_x": math.inf}, "end_x"),
        ({"keys": ["a"], "min_x": 2, "end_x": 2}, "end_x"),
        ({"keys": ["a"], "stream": 9}, "stream"),
        ({"keys": ["a"], "more_runs": 100}, "run_ids"),
    ],
)
def test_a_bad_request_for_samples_is_refused(
    stubs: Stubs, run: pb.Run, request_: dict[str, Any], field: str
) -> None:
    options = dict(request_)
    more = [pb.Run(id=f"{n:032x}") for n in range(options.pop("more_runs", 0))]
    with pytest.raises(grpc.RpcError) as failure:
        sample(stubs, run, *more, **options)
    assert reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert fields(failure) == [field]


def test_a_run_that_is_deleted_ends_its_samples(stubs: Stubs) -> None:
    runs = [make(stubs) for _ in range(2)]
    names = [f"k{n}" for n in range(1000)]
    for run in runs:
        log(stubs, run, list(range(100)), *(column(name, [0.5] * 100) for name in names))
    ids = [run.id for run in runs]
    replies = stubs.metrics.SampleMetrics(metric_pb2.SampleMetricsRequest(run_ids=ids, keys=names))
    assert next(replies).key == "k0"
    stubs.runs.DeleteRun(pb.DeleteRunRequest(id=runs[1].id))
    with pytest.raises(grpc.RpcError) as failure:
        for _ in replies:
            pass
    assert reason(failure) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


def test_ten_thousand_metrics_are_listed_in_pages(stubs: Stubs, run: pb.Run) -> None:
    names = [f"layer/{n:05}" for n in range(10_000)]
    for step in range(3):
        log(stubs, run, [step], *(column(name, [0.5]) for name in names))
    found, token = [], ""
    while True:
        page = keys(stubs, run, page_size=4000, page_token=token)
        found += page.keys
        token = page.next_page_token
        if not token:
            break
    assert [key.key for key in found] == names
    assert {(key.kind, key.point_count, key.first_step, key.last_step) for key in found} == {
        (NUMBER, 3, 0, 2)
    }
    assert len(keys(stubs, run).keys) == 1000
    assert [key.key for key in keys(stubs, run, text="R/0999").keys] == names[9990:]
    with pytest.raises(grpc.RpcError) as failure:
        keys(stubs, run, text="other", page_token=keys(stubs, run).next_page_token)
    assert reason(failure)[1] == "INVALID_PAGE_TOKEN"


def test_a_page_of_long_names_fits_a_message(stubs: Stubs, run: pb.Run) -> None:
    names = sorted("é" * 500 + f"{n:05}" for n in range(5000))
    for begin in range(0, len(names), 1000):
        columns = (column(name, [1]) for name in names[begin : begin + 1000])
        log(stubs, run, [0], *columns, summary_mode=metric_pb2.SUMMARY_MODE_GIVEN)
    first = keys(stubs, run, page_size=5000)
    rest = keys(stubs, run, page_size=5000, page_token=first.next_page_token)
    assert [key.key for key in [*first.keys, *rest.keys]] == names


def test_kinds_tell_numbers_from_other_values(stubs: Stubs, run: pb.Run) -> None:
    log(
        stubs,
        run,
        [0, 1],
        column("large", [2**53 + 1, 2**63 - 1]),
        column("mixed", [1, 0.5]),
        column("some", [1, "x"]),
        column("text", ["x"], rows=[1]),
        column("true", [True, False]),
    )
    found = {key.key: (key.kind, key.point_count, key.first_step) for key in keys(stubs, run).keys}
    assert found == {
        "large": (NUMBER, 2, 0),
        "mixed": (NUMBER, 2, 0),
        "some": (OTHER, 2, 0),
        "text": (OTHER, 1, 1),
        "true": (OTHER, 2, 0),
    }
    (large,) = sample(stubs, run, keys=["large"])
    assert list(large.maxes) == [2.0**53, 2.0**63]


def test_each_attempt_has_samples_and_keys_of_its_own(stubs: Stubs) -> None:
    project = new_project()

    def begin() -> pb.Run:
        wanted = pb.Run(project=project, name="r")
        made: pb.Run = stubs.runs.CreateRun(
            pb.CreateRunRequest(run=wanted, resume=pb.RESUME_POLICY_NEW_ATTEMPT)
        ).run
        return made

    log(stubs, begin(), [0, 1], column("a", [1.0, 2.0]))
    run = begin()
    log(stubs, run, [5], column("b", [3.0]))
    for attempt, key, points in ((1, "a", 2), (2, "b", 1), (None, "b", 1)):
        (found,) = sample(stubs, run, keys=["a", "b"], attempt=attempt)
        assert (found.key, found.point_count) == (key, points)
        assert [row.key for row in keys(stubs, run, attempt=attempt).keys] == [key]
    (started,) = sample(stubs, run, keys=["b"], x_axis="_runtime")
    assert started.first_xs[0] == pytest.approx(15.0, abs=1.0)
    for call in (lambda: sample(stubs, run, keys=["a"], attempt=3), lambda: keys(stubs, run, attempt=3)):
        with pytest.raises(grpc.RpcError) as failure:
            call()
        assert reason(failure)[0] == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as failure:
        sample(stubs, run, make(stubs), keys=["a"], attempt=1)
    assert fields(failure) == ["attempt"]


def test_late_rows_are_in_samples_at_their_step(stubs: Stubs, run: pb.Run) -> None:
    log(stubs, run, [5, 6], column("a", [5.0, 6.0]))
    stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id))
    log(stubs, run, [1, 2], column("a", [1.0, 2.0]), late=True)
    (found,) = sample(stubs, run, keys=["a"])
    assert list(found.firsts) == [1.0, 2.0, 5.0, 6.0]


def test_a_server_packs_what_was_logged_and_answers_the_same(live_server_factory: Factory) -> None:
    server = live_server_factory()
    server.start()
    stubs = server.stubs()
    run = make(stubs)
    for begin in range(0, 20_000, 1000):
        steps = list(range(begin, begin + 1000))
        log(stubs, run, steps, column("a", [float(step) for step in steps]))
    waiting = sample(stubs, run, keys=["a"], bucket_count=7)
    scanned = scan(stubs, run, "a")
    until(lambda: blocks_of(server) > 0, seconds=60)
    assert sample(stubs, run, keys=["a"], bucket_count=7) == waiting
    assert waiting[0].point_count == 20_000
    log(stubs, run, [20_000], column("a", [20_000.0]))
    assert scan(stubs, run, "a") == [*scanned, (20_000, 20_000.0)]
    packed = sample(stubs, run, keys=["a"], bucket_count=7)
    server.kill()
    server.start()
    assert sample(server.stubs(), run, keys=["a"], bucket_count=7) == packed


def test_a_server_starts_without_loading_numpy() -> None:
    script = "import sys, modelyard_server.app; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", script], timeout=60, check=False).returncode == 0


def scan(stubs: Stubs, run: pb.Run, key: str) -> list[tuple[int, float]]:
    """The steps and points of a metric, as they come."""
    request = metric_pb2.ScanMetricHistoryRequest(run_id=run.id, keys=[key])
    batches = [reply.batch for reply in stubs.metrics.ScanMetricHistory(request)]
    return [
        (step, point)
        for batch in batches
        for step, point in zip(batch.steps, batch.columns[0].doubles, strict=True)
    ]


def blocks_of(server: LiveServer) -> int:
    """The blocks in the database of a server over a folder."""
    import contextlib
    import sqlite3

    with contextlib.closing(sqlite3.connect(server.data / "modelyard.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM metric_block").fetchone()[0])
