"""A run as `Api` finds it, on both databases: rows, attempts, changes and its end."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Api, errors
from modelyard.public_runs import series
from modelyard.public_runs.public_run import PublicRun
from modelyard.runs.run import Run
from modelyard.v1 import metric_pb2 as metric_pb
from modelyard.v1 import run_pb2 as pb
from tests.clients.waiting import until


@pytest.fixture
def run(work: Path) -> Run:
    """A run in a project of its own."""
    return modelyard.init()


def _steps(rows: list[dict[str, Any]]) -> list[int]:
    return [row["_step"] for row in rows]


def test_a_history_has_all_rows_or_a_sample_with_the_extremes(run: Run) -> None:
    for step in range(300):
        run.log({"acc": step / 300, "spike": float(step == 123)})
    run.finish()
    found = Api().run(run.path)
    assert _steps(found.history(pandas=False)) == list(range(300))
    rows = found.history(samples=20, pandas=False)
    assert 5 <= len(rows) <= 20
    assert _steps(rows) == sorted(_steps(rows))
    assert {0, 123, 299} <= set(_steps(rows))
    assert set(rows[0]) == {"_step", "_timestamp", "_runtime", "acc", "spike"}
    assert found.history(keys=["acc"], pandas=False)[1] == {"_step": 1, "acc": 1 / 300}
    assert found.history(keys=["nothing"], pandas=False) == []
    by_metric = found.history(keys=["spike"], x_axis="acc", pandas=False)
    assert by_metric[-1] == {"acc": 299 / 300, "spike": 0.0}
    with pytest.raises(ValueError, match="samples is at least 1"):
        found.history(samples=0)


def test_rows_have_all_the_keys_that_are_asked_for(run: Run) -> None:
    run.log({"a": 1})
    run.log({"a": 2, "b": "two"})
    run.log({"b": "three"})
    run.finish()
    found = Api().run(run.path)
    assert list(found.scan_history(keys=["a", "b"])) == [{"a": 2, "b": "two"}]
    assert list(found.scan_history(keys=["b", "_step"])) == [
        {"b": "two", "_step": 1},
        {"b": "three", "_step": 2},
    ]
    assert _steps(list(found.scan_history(min_step=1, max_step=2))) == [1]


def test_earlier_attempts_stay_readable(run: Run) -> None:
    run.config["lr"] = 0.1
    run.log({"loss": 1.0})
    run.finish()
    anew = pb.Run(name=run.id, entity="local", project=run.project)
    request = pb.CreateRunRequest(run=anew, resume=pb.RESUME_POLICY_NEW_ATTEMPT)
    Api()._workspace.connection.runs.CreateRun(request)
    again = modelyard.init(id=run.id, resume="must", config={"lr": 0.2})
    again.log({"loss": 0.5})
    again.log({"loss": 0.25})
    again.finish()
    found = Api().run(run.path)
    assert (found.attempt, found.config["lr"], found.summary["loss"]) == (2, 0.2, 0.25)
    newest, first = found.attempts()
    assert (newest.attempt, first.attempt) == (2, 1)
    assert (first.config["lr"], first.summary["loss"]) == (0.1, 1.0)
    assert [row["loss"] for row in first.scan_history()] == [1.0]
    assert [row["loss"] for row in newest.history(pandas=False)] == [0.5, 0.25]
    assert (first.load().attempt, newest.load().attempt) == (1, 2)
    first.config["lr"] = 0.3
    first.update()
    found.config["lr"] = 0.4
    found.update()
    assert [each.config["lr"] for each in Api().run(run.path).attempts()] == [0.4, 0.3]


def test_a_summary_is_sent_when_it_is_updated(run: Run) -> None:
    run.log({"acc": 0.5})
    run.finish()
    found = Api().run(run.path)
    found.summary["best"] = 0.75
    found.summary.update()
    found.summary.update({"more": 1, "acc": 0.1}, overwrite=False)
    stored = Api().run(run.path)
    assert stored.summary["best"] == 0.75
    assert (stored.summary["more"], stored.summary["acc"]) == (1, 0.5)
    assert stored.summary._json_dict == dict(stored.summary) == stored.summary_metrics


def test_waiting_ends_with_the_run(run: Run) -> None:
    found = Api().run(run.path)
    waiting = threading.Thread(target=found.wait_until_finished)
    waiting.start()
    reads = found._record
    until(lambda: found._record is not reads)
    assert waiting.is_alive()
    run.finish(exit_code=3)
    waiting.join(30)
    assert not waiting.is_alive()
    assert (found.state, found.exit_code) == ("failed", 3)


def test_a_run_is_deleted_and_its_versions_stay_unless_they_go_too(run: Run, work: Path) -> None:
    (work / "w.bin").write_text("1")
    run.log_model(work / "w.bin", name="kept")
    run.finish()
    other = modelyard.init()
    (work / "w.bin").write_text("2")
    other.log_model(work / "w.bin", name="gone")
    other.finish()
    for each, name, stays in ((run, "kept", True), (other, "gone", False)):
        Api().run(each.path).delete(delete_artifacts=not stays)
        with pytest.raises(errors.NotFound):
            Api().run(each.path)
        assert Api().artifact_exists(name) is stays


def test_a_run_shows_itself_outside_of_notebooks(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    found: PublicRun = Api().run(run.path)
    assert found.display() is False
    assert f"modelyard show {'/'.join(found.path)}" in capsys.readouterr().err
    assert run.id in found.to_html()


def test_metrics_of_the_code_and_of_the_machine_are_told_apart(run: Run) -> None:
    for step in range(10):
        run.log({"loss": 1 / (step + 1), "phase": "warm"})
    until(lambda: Api().run(run.path).lastHistoryStep == 9)
    found = Api().run(run.path)
    batch = metric_pb.MetricBatch(steps=[0, 1], timestamps=[2e9, 2e9 + 15])
    batch.columns.add(key="system.probe", doubles=[50.0, 75.0])
    request = metric_pb.LogMetricsRequest(
        run_id=found._record.id, writer="s", sequence=1, stream=metric_pb.METRIC_STREAM_SYSTEM, batch=batch
    )
    found._workspace.connection.metrics.LogMetrics(request)
    assert found.system_metrics["system.probe"] == 75.0
    assert found.history_keys == {
        "keys": {
            "loss": {"count": 10, "first_step": 0, "last_step": 9},
            "phase": {"count": 10, "first_step": 0, "last_step": 9},
        },
        "lastStep": 9,
    }
    rows = found.history(keys=["system.probe"], x_axis="_timestamp", pandas=False, stream="system")
    assert rows[-1]["system.probe"] == 75.0
    assert {row["loss"] for row in found.history(keys=["loss"], pandas=False)} == {
        1 / step for step in range(1, 11)
    }
    with pytest.raises(ValueError, match="default or system"):
        found.history(stream="other")


def test_a_curve_of_a_long_run_keeps_its_peak(run: Run) -> None:
    for step in range(3000):
        run.log({"a": 100.0 if step == 1234 else step % 2, "b": math.nan})
    run.finish()
    found = Api().run(run.path)
    (curve,) = series.curves(found._workspace.connection, found._source(), ["a", "b"], 40)
    assert (curve.key, len(curve.points), curve.least, curve.largest, curve.last) == ("a", 40, 0, 100, 1)
    assert curve.points[1234 * 40 // 3000] == 100


def _log_many(run: Run, **columns: list[Any]) -> PublicRun:
    """Logs columns of metrics by steps 0, 10, 20, …"""
    run.finish()
    found = Api().run(run.path)
    count = len(next(iter(columns.values())))
    for sequence, begin in enumerate(range(0, count, 10_000), 1):
        steps = range(begin, begin + 10_000)
        batch = metric_pb.MetricBatch(
            steps=[10 * step for step in steps], timestamps=[5e9 + step for step in steps]
        )
        for key, points in columns.items():
            own = points[begin : begin + 10_000]
            whole = all(isinstance(point, int) for point in own)
            batch.columns.add(key=key, **{"ints" if whole else "doubles": own})
        found._workspace.connection.metrics.LogMetrics(
            metric_pb.LogMetricsRequest(
                run_id=found._record.id, writer="w", sequence=sequence, batch=batch, late=True
            )
        )
    return found.load()


def test_a_sample_of_one_metric_of_a_long_run_is_made_of_logged_points(run: Run) -> None:
    wave = [math.sin(step / 500) for step in range(30_000)]
    wave[12_345], wave[22_222] = 9.0, -9.0
    found = _log_many(run, wave=wave, epoch=[step // 100 for step in range(30_000)])
    rows = found.history(samples=100, keys=["wave"], pandas=False)
    assert 40 <= len(rows) <= 100
    assert all(row == {"_step": row["_step"], "wave": wave[row["_step"] // 10]} for row in rows)
    assert _steps(rows) == sorted(set(_steps(rows)))
    assert {0, 123_450, 222_220, 299_990} <= set(_steps(rows))
    source = found._source()
    asked = series.points(found._workspace.connection, source, "wave", "_step", 100)
    assert asked == [(row["_step"], row["wave"]) for row in rows]
    by_time = found.history(samples=100, keys=["wave"], x_axis="_timestamp", pandas=False)
    assert all(row["wave"] == wave[int(row["_timestamp"] - 5e9)] for row in by_time)
    whole = found.history(samples=100, keys=["epoch"], pandas=False)
    assert len(whole) > 50
    assert all(type(row["epoch"]) is int and row["epoch"] == row["_step"] // 1000 for row in whole)


def test_a_sample_of_one_metric_does_not_hide_what_is_not_finite(run: Run) -> None:
    diverged = [1.0 if step < 20_000 else math.nan for step in range(30_000)]
    large = [2**60 + step for step in range(30_000)]
    found = _log_many(run, diverged=diverged, large=large)
    rows = found.history(samples=100, keys=["diverged"], pandas=False)
    assert math.isnan(rows[-1]["diverged"])
    rows = found.history(samples=100, keys=["large"], pandas=False)
    assert all(row["large"] == 2**60 + row["_step"] // 10 for row in rows)
