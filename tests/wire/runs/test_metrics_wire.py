"""Metrics over the wire, on both databases."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from modelyard.v1 import metric_pb2
from modelyard.v1 import run_pb2 as pb
from modelyard_server.rpc.wire.convert import python_to_value, values_to_python
from tests.parts.server import LiveServer, Stubs, fields, new_project, reason


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def make(stubs: Stubs, resume: Any = pb.RESUME_POLICY_NEVER, **run: Any) -> pb.Run:
    made: pb.Run = stubs.runs.CreateRun(pb.CreateRunRequest(run=pb.Run(**run), resume=resume)).run
    return made


def get(stubs: Stubs, run: pb.Run) -> pb.Run:
    found: pb.Run = stubs.runs.GetRun(pb.GetRunRequest(id=run.id)).run
    return found


def batch(steps: list[int], **columns: list[Any]) -> metric_pb2.MetricBatch:
    """A batch with every point of each column."""
    made = metric_pb2.MetricBatch(steps=steps, timestamps=[1000.0 + step for step in steps])
    for key, points in columns.items():
        kind = "ints" if all(isinstance(point, int) for point in points) else "doubles"
        made.columns.append(metric_pb2.MetricColumn(key=key, **{kind: points}))
    return made


def log(
    stubs: Stubs, run: pb.Run, sequence: int, rows: metric_pb2.MetricBatch, **more: Any
) -> metric_pb2.LogMetricsResponse:
    request = metric_pb2.LogMetricsRequest(run_id=run.id, writer="w", sequence=sequence, batch=rows, **more)
    reply: metric_pb2.LogMetricsResponse = stubs.metrics.LogMetrics(request)
    return reply


def scan(stubs: Stubs, run: pb.Run, **request: Any) -> list[metric_pb2.MetricBatch]:
    replies = stubs.metrics.ScanMetricHistory(metric_pb2.ScanMetricHistoryRequest(run_id=run.id, **request))
    return [reply.batch for reply in replies]


def summary(stubs: Stubs, run: pb.Run) -> dict[str, Any]:
    return values_to_python(get(stubs, run).summary, "summary")


def test_metrics_come_back_as_they_were_sent_in_the_order_of_steps(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    late, early = (
        batch([5, 6], loss=[0.5, math.nan]),
        batch([0, 0, 3], loss=[9.0, 8.0, math.inf], n=[1, 2, 3]),
    )
    mixed = metric_pb2.MetricBatch(steps=[4], timestamps=[1.0])
    mixed.columns.append(metric_pb2.MetricColumn(key="text", values=[python_to_value("x")]))
    for sequence, rows in enumerate((late, early, mixed), start=1):
        assert not log(stubs, run, sequence, rows).duplicate
    assert [found.SerializeToString() for found in scan(stubs, run)] == [
        rows.SerializeToString() for rows in (early, mixed, late)
    ]
    assert get(stubs, run).last_step == 6


def test_a_writer_that_does_not_know_what_arrived_skips_what_is_stored(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    rows = list(range(30))
    for first, end in ((0, 7), (7, 8), (8, 20)):
        reply = log(stubs, run, first + 1, batch(rows[first:end], a=rows[first:end]))
        assert (reply.duplicate, reply.row_count) == (False, end - first)
    cursor, sizes = 0, []
    while cursor < len(rows):
        part = rows[cursor : cursor + 10]
        reply = log(stubs, run, cursor + 1, batch(part, a=part))
        sizes.append((reply.duplicate, reply.row_count))
        cursor += reply.row_count
    assert sizes == [(True, 7), (True, 1), (True, 12), (False, 10)]
    assert [step for found in scan(stubs, run) for step in found.steps] == rows


def test_late_rows_are_stored_after_the_end_and_change_no_newer_summary(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    log(stubs, run, 1, batch([5], a=[5.5]))
    stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id, exit_code=1))
    ended = get(stubs, run)
    with pytest.raises(grpc.RpcError) as refused:
        log(stubs, run, 2, batch([6], a=[6.5]))
    assert reason(refused) == (grpc.StatusCode.FAILED_PRECONDITION, "RUN_FINISHED")
    assert log(stubs, run, 2, batch([4], a=[4.5], b=[4]), late=True).row_count == 1
    assert summary(stubs, run) == {"a": 5.5}
    log(stubs, run, 3, batch([6], a=[6.5]), late=True, summary_mode=metric_pb2.SUMMARY_MODE_LAST)
    after = get(stubs, run)
    assert summary(stubs, run) == {"a": 6.5}
    assert (after.state, after.exit_code, after.heartbeat_time) == (
        pb.RUN_STATE_FAILED, 1, ended.heartbeat_time,
    )  # fmt: skip
    assert [step for found in scan(stubs, run) for step in found.steps] == [4, 5, 6]


def test_a_batch_is_stored_once(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    assert not log(stubs, run, 7, batch([0], a=[1])).duplicate
    assert log(stubs, run, 7, batch([0], a=[1])).duplicate
    stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id))
    assert log(stubs, run, 7, batch([0], a=[1])).duplicate
    assert len(scan(stubs, run)) == 1


def test_batches_sent_at_once_are_stored_once(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: log(stubs, run, n % 4 + 1, batch([n % 4], a=[n % 4])), range(16)))
    assert sum(not reply.duplicate for reply in replies) == 4
    assert [list(found.steps) for found in scan(stubs, run)] == [[0], [1], [2], [3]]


def test_the_last_points_enter_the_summary(stubs: Stubs) -> None:
    run = make(stubs, project=new_project(), summary={"kept": python_to_value("x")})
    log(stubs, run, 1, batch([0, 1], a=[0.5, 0.25], n=[1, 2]), summary={"given": python_to_value([1])})
    assert summary(stubs, run) == {"kept": "x", "a": 0.25, "n": 2, "given": [1]}
    given = metric_pb2.SUMMARY_MODE_GIVEN
    log(stubs, run, 2, batch([2], a=[9.0]), summary_mode=given, summary={"best": python_to_value(0.1)})
    assert summary(stubs, run) == {"kept": "x", "a": 0.25, "n": 2, "given": [1], "best": 0.1}


def test_a_finished_run_takes_no_rows_until_it_is_resumed(stubs: Stubs) -> None:
    project = new_project()
    run = make(stubs, project=project, name="r")
    stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id))
    for call in (
        lambda: log(stubs, run, 1, batch([0], a=[1])),
        lambda: stubs.runs.HeartbeatRun(pb.HeartbeatRunRequest(id=run.id)),
    ):
        with pytest.raises(grpc.RpcError) as failure:
            call()
        assert reason(failure) == (grpc.StatusCode.FAILED_PRECONDITION, "RUN_FINISHED")
    make(stubs, pb.RESUME_POLICY_MUST, project=project, name="r")
    assert not log(stubs, run, 1, batch([0], a=[1])).duplicate


SYSTEM = metric_pb2.METRIC_STREAM_SYSTEM


def test_system_rows_change_neither_the_summary_nor_the_last_step(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    log(stubs, run, 1, batch([3], loss=[0.5]))
    log(stubs, run, 2, batch([9], cpu=[80.0]), stream=SYSTEM)
    assert summary(stubs, run) == {"loss": 0.5}
    assert get(stubs, run).last_step == 3
    assert [found.columns[0].key for found in scan(stubs, run)] == ["loss"]
    assert [found.columns[0].key for found in scan(stubs, run, stream=SYSTEM)] == ["cpu"]
    with pytest.raises(grpc.RpcError) as failure:
        log(stubs, run, 3, batch([9], cpu=[1.0]), stream=SYSTEM, summary={"cpu": python_to_value(1.0)})
    assert fields(failure) == ["summary"]


def test_a_stream_that_does_not_exist_is_refused(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    for call in (
        lambda: log(stubs, run, 1, batch([0], a=[1]), stream=7),
        lambda: scan(stubs, run, stream=7),
    ):
        with pytest.raises(grpc.RpcError) as failure:
            call()
        assert fields(failure) == ["stream"]


def test_late_rows_of_an_ended_run_are_stored_and_leave_it_ended(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    log(stubs, run, 1, batch([5], loss=[0.5]))
    ended = stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id)).run
    assert log(stubs, run, 2, batch([3, 4], loss=[0.9, 0.8]), late=True).row_count == 2
    found = get(stubs, run)
    assert (found.state, found.heartbeat_time) == (ended.state, ended.heartbeat_time)
    assert found.last_step == 5
    assert summary(stubs, run) == {"loss": 0.5}
    assert [list(rows.steps) for rows in scan(stubs, run)] == [[3, 4], [5]]


def test_late_rows_that_are_the_newest_change_the_summary(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    log(stubs, run, 1, batch([5], loss=[0.5]))
    stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id))
    log(stubs, run, 2, batch([5], n=[1]), late=True, summary={"best": python_to_value(0.1)})
    log(stubs, run, 3, batch([6, 7], loss=[0.4, 0.3]), late=True)
    assert summary(stubs, run) == {"loss": 0.3, "n": 1, "best": 0.1}
    assert get(stubs, run).last_step == 7


def test_late_rows_are_no_heartbeat(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    before = get(stubs, run).heartbeat_time
    log(stubs, run, 1, batch([0], a=[1]), late=True)
    assert get(stubs, run).heartbeat_time == before
    log(stubs, run, 2, batch([0], a=[1]))
    assert get(stubs, run).heartbeat_time.ToNanoseconds() > before.ToNanoseconds()


def requests(run: pb.Run, *batches: tuple[int, metric_pb2.MetricBatch]) -> Any:
    """The messages of a stream of batches."""
    for sequence, rows in batches:
        request = metric_pb2.LogMetricsRequest(run_id=run.id, writer="w", sequence=sequence, batch=rows)
        yield metric_pb2.LogMetricBatchesRequest(batch=request)


def test_a_stream_of_batches_stores_each_once(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    log(stubs, run, 2, batch([1], a=[1]))
    sent = [(sequence, batch([sequence - 1], a=[sequence])) for sequence in range(1, 6)]
    reply = stubs.metrics.LogMetricBatches(requests(run, *sent))
    assert (reply.stored_count, reply.duplicate_count) == (4, 1)
    assert [list(found.steps) for found in scan(stubs, run)] == [[0], [1], [2], [3], [4]]
    assert summary(stubs, run) == {"a": 5}


def test_a_stream_of_batches_ends_at_the_first_that_is_refused(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    sent = [(1, batch([0], a=[1])), (2, batch([1], a=[1])), (3, batch([-1], a=[1])), (4, batch([3], a=[1]))]
    with pytest.raises(grpc.RpcError) as failure:
        stubs.metrics.LogMetricBatches(requests(run, *sent))
    assert reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert fields(failure) == ["requests[2].batch.steps[0]"]
    assert [list(found.steps) for found in scan(stubs, run)] == [[0], [1]]
    stubs.runs.FinishRun(pb.FinishRunRequest(id=run.id))
    with pytest.raises(grpc.RpcError) as failure:
        stubs.metrics.LogMetricBatches(requests(run, (1, batch([0], a=[1])), (5, batch([5], a=[1]))))
    assert reason(failure) == (grpc.StatusCode.FAILED_PRECONDITION, "RUN_FINISHED")
    assert "requests[1]" in str(failure.value)


def test_a_scan_takes_the_metrics_and_steps_it_was_asked_for(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    rows = batch([0, 1, 2, 3], a=[0.0, 1.0, 2.0, 3.0])
    rows.columns.append(metric_pb2.MetricColumn(key="b", rows=[1, 3], ints=[10, 30]))
    log(stubs, run, 1, rows)
    log(stubs, run, 2, batch([4], c=[1]))
    only_b = scan(stubs, run, keys=["b"])
    assert [(list(found.steps), list(found.columns[0].ints)) for found in only_b] == [([1, 3], [10, 30])]
    middle = scan(stubs, run, min_step=1, end_step=3)
    assert [list(found.steps) for found in middle] == [[1, 2]]
    assert {column.key: list(column.rows) for column in middle[0].columns} == {"a": [], "b": [0]}
    assert scan(stubs, run, keys=["nope"]) == []
    assert scan(stubs, run, min_step=5) == []


def test_a_scan_goes_through_more_batches_than_one_read_takes(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    for sequence in range(230):
        log(stubs, run, sequence + 1, batch([sequence], a=[sequence]))
    assert [found.steps[0] for found in scan(stubs, run)] == list(range(230))


def at(*times: float) -> metric_pb2.MetricBatch:
    """A batch of rows with these times."""
    column = metric_pb2.MetricColumn(key="a", ints=[1] * len(times))
    return metric_pb2.MetricBatch(steps=range(len(times)), timestamps=times, columns=[column])


def test_any_time_since_1970_is_taken(stubs: Stubs) -> None:
    run = make(stubs, project=new_project())
    log(stubs, run, 1, at(0.0, 1.7e308, 1.7e308))
    assert list(scan(stubs, run)[0].timestamps) == [0.0, 1.7e308, 1.7e308]


BAD_BATCHES: dict[str, tuple[metric_pb2.MetricBatch, str]] = {
    "no steps": (metric_pb2.MetricBatch(), "batch.steps"),
    "a negative step": (batch([-1], a=[1]), "batch.steps[0]"),
    "a step beyond 2^53": (batch([0, 2**53 + 1], a=[1, 1]), "batch.steps[1]"),
    "steps that descend": (batch([0, 2, 1], a=[1, 1, 1]), "batch.steps[2]"),
    "missing timestamps": (metric_pb2.MetricBatch(steps=[1]), "batch.timestamps"),
    "a time that is no number": (at(1.0, math.nan), "batch.timestamps[1]"),
    "a time without end": (at(math.inf), "batch.timestamps[0]"),
    "a time before 1970": (at(1.0, 1.0, -0.5), "batch.timestamps[2]"),
    "a reserved key": (batch([0], a=[1], _step=[1]), "batch.columns[1].key"),
    "an empty key": (batch([0], **{"": [1]}), "batch.columns[0].key"),
    "a long key": (batch([0], **{"k" * 1025: [1]}), "batch.columns[0].key"),
    "a control character": (batch([0], **{"a\x00": [1]}), "batch.columns[0].key"),
    "too few points": (batch([0, 1], a=[1]), "batch.columns[0].ints"),
    "no points": (batch([0], a=[]), "batch.columns[0]"),
    "a row that is not there": (
        metric_pb2.MetricBatch(
            steps=[0], timestamps=[0], columns=[metric_pb2.MetricColumn(key="a", rows=[1], ints=[1])]
        ),
        "batch.columns[0].rows",
    ),
    "the same metric twice": (
        metric_pb2.MetricBatch(
            steps=[0], timestamps=[0], columns=[metric_pb2.MetricColumn(key="a", ints=[1])] * 2
        ),
        "batch.columns[1].key",
    ),
    "too many rows": (batch([0] * 100_001, a=[1] * 100_001), "batch.steps"),
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_a_bad_batch_is_refused_and_the_field_named(stubs: Stubs, name: str) -> None:
    run = make(stubs, project=new_project())
    rows, field = BAD_BATCHES[name]
    with pytest.raises(grpc.RpcError) as failure:
        log(stubs, run, 1, rows)
    assert reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert fields(failure) == [field]
    assert scan(stubs, run) == []


@pytest.mark.parametrize(
    ("writer", "sequence", "field"),
    [("", 1, "writer"), ("w" * 65, 1, "writer"), ("w", 0, "sequence"), ("w", -1, "sequence")],
)
def test_a_bad_writer_is_refused(stubs: Stubs, writer: str, sequence: int, field: str) -> None:
    run = make(stubs, project=new_project())
    request = metric_pb2.LogMetricsRequest(
        run_id=run.id, writer=writer, sequence=sequence, batch=batch([0], a=[1])
    )
    with pytest.raises(grpc.RpcError) as failure:
        stubs.metrics.LogMetrics(request)
    assert fields(failure) == [field]
