"""kill -9 of the server while it packs metrics: every point is in samples once, before and after."""

from __future__ import annotations

import itertools
import signal

import grpc
import pytest

from modelyard.v1 import metric_pb2
from modelyard.v1 import run_pb2 as pb
from tests.parts.server import Factory, Stubs, new_project, production_place

ROWS = 50


def log(stubs: Stubs, run: pb.Run, sequence: int) -> None:
    """Logs the batch of this number: rows whose step is their point."""
    steps = range((sequence - 1) * ROWS, sequence * ROWS)
    batch = metric_pb2.MetricBatch(steps=steps, timestamps=[1000.0 + step for step in steps])
    batch.columns.add(key="a", ints=steps)
    stubs.metrics.LogMetrics(
        metric_pb2.LogMetricsRequest(run_id=run.id, writer="w", sequence=sequence, batch=batch), timeout=30
    )


def log_until_death(stubs: Stubs, run: pb.Run) -> int:
    """Logs batches until the server dies; the number of the one that got no reply."""
    for sequence in itertools.count(1):
        try:
            log(stubs, run, sequence)
        except grpc.RpcError:
            return sequence
    raise AssertionError("unreachable")


def points(stubs: Stubs, run: pb.Run) -> tuple[int, float]:
    """How many points there are, and their sum."""
    request = metric_pb2.SampleMetricsRequest(run_ids=[run.id], keys=["a"], bucket_count=7)
    (found,) = stubs.metrics.SampleMetrics(request)
    return found.point_count, sum(found.sums)


@pytest.mark.parametrize("kind", ["sqlite+disk", "postgresql+s3"])
def test_a_server_killed_while_it_packs_metrics_has_every_point_once(
    request: pytest.FixtureRequest, live_server_factory: Factory, kind: str
) -> None:
    place, env = production_place(request) if kind == "postgresql+s3" else (None, {})
    # The second round replaces the small block that the first one made.
    failpoint = {"MODELYARD_FAILPOINTS": "metrics.stored=kill@2"}
    server = live_server_factory(place=place, env={**env, **failpoint})
    stubs = server.start().stubs()
    run = stubs.runs.CreateRun(pb.CreateRunRequest(run=pb.Run(project=new_project()))).run
    sequence = log_until_death(stubs, run)
    assert server.wait() == -signal.SIGKILL
    del server.env["MODELYARD_FAILPOINTS"]
    stubs = server.start().stubs()
    log(stubs, run, sequence)
    count = sequence * ROWS
    assert points(stubs, run) == (count, count * (count - 1) / 2)
