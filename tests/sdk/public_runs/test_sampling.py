"""Samples of a run's rows: few, evenly spaced, and with every extreme."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable
from typing import Any

import pytest

from modelyard.public_runs.sampling import sample
from modelyard.rpc.metric_scan import Batch
from modelyard.v1 import metric_pb2 as pb


def _batch(steps: Iterable[int], keys: Iterable[str] = (), **columns: Any) -> Batch:
    steps = list(steps)
    message = pb.MetricBatch(steps=steps, timestamps=[1000.0 + step for step in steps])
    for key, points in columns.items():
        rows, values = points if isinstance(points, tuple) else ([], points)
        message.columns.add(key=key, rows=rows, doubles=values)
    return Batch(message, 1000.0, list(keys))


def _batches(values: list[float], size: int = 1000) -> list[Batch]:
    return [
        _batch(range(start, start + len(values[start : start + size])), loss=values[start : start + size])
        for start in range(0, len(values), size)
    ]


@pytest.mark.parametrize("count", [1, 2, 5, 100, 500])
def test_a_peak_of_one_row_is_kept_and_no_more_rows_than_asked_for(count: int) -> None:
    source = random.Random(1)
    values = [source.random() for _ in range(20_000)]
    values[12_345], values[6_789] = 99.0, -99.0
    rows = sample(_batches(values), count)
    assert count * 0.8 <= len(rows) <= count
    assert all(row["loss"] == values[row["_step"]] for row in rows)
    steps = sorted(row["_step"] for row in rows)
    assert steps[-1] == 19_999
    assert len(set(steps)) == len(steps)
    if count >= 5:
        assert {12_345, 6_789} <= set(steps)
    if count >= 100:
        assert max(after - before for before, after in itertools.pairwise(steps)) < 20_000 * 4 / count


def test_all_rows_are_returned_where_there_are_few() -> None:
    assert sorted(row["_step"] for row in sample(_batches([1.0] * 500, 90), 500)) == list(range(500))
    assert sample([], 10) == []


def test_values_that_are_not_finite_are_no_extremes_and_hide_none() -> None:
    values = [math.nan if step % 3 else 1.0 for step in range(9000)]
    values[4000], values[4001], values[4002] = math.inf, -math.inf, 7.0
    rows = {row["_step"]: row["loss"] for row in sample(_batches(values), 50)}
    assert rows[4002] == 7.0


def test_extremes_of_many_metrics_are_all_kept() -> None:
    source = random.Random(2)
    keys = {f"m{number}": [source.random() for _ in range(5000)] for number in range(40)}
    peaks = {key: source.randrange(5000) for key in keys}
    for key, step in peaks.items():
        keys[key][step] = 5.0
    rows = sample([_batch(range(5000), **keys)], 500)
    assert len(rows) <= 500
    assert set(peaks.values()) <= {row["_step"] for row in rows}


def test_sparse_metrics_huge_steps_and_several_writers_are_sampled() -> None:
    first = _batch([10**12 * step for step in range(1000)], a=([7, 500], [1.0, 2.0]), b=[0.0] * 1000)
    second = _batch([10**12 * step for step in range(500, 1500)], a=([600], [3.0]), b=[0.5] * 1000)
    rows = sample([first, second], 40)
    assert len(rows) <= 40
    assert {row.get("a") for row in rows} >= {1.0, 3.0}
    assert max(row["_step"] for row in rows) == 10**12 * 1499


def test_rows_that_lack_a_wanted_metric_are_left_out() -> None:
    batch = _batch(
        range(6), ["b", "_step", "a"], a=([0, 2, 4], [1, 2, 3]), b=([2, 3, 4], [5, 6, 7]), c=[0] * 6
    )
    assert list(batch.rows()) == [{"_step": 2, "a": 2, "b": 5}, {"_step": 4, "a": 3, "b": 7}]
    assert batch.row(1) == {"_step": 4, "a": 3, "b": 7}
    assert list(_batch(range(3), ["nothing"], a=[1, 2, 3]).rows()) == []
    assert list(_batch(range(2), ["_step"], a=[1, 2]).rows()) == [{"_step": 0}, {"_step": 1}]
