"""`define_metric`: what the summary keeps of a metric, and which rows carry its step metric."""

from __future__ import annotations

import json
import math
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import errors
from modelyard.runs.run import Run
from tests.clients.commands import run_command
from tests.clients.waiting import until
from tests.parts.embedded import isolate

VALUES = (3.0, 1.0, math.nan, 2.0)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    isolate(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    with modelyard.init(mode="disabled") as run:
        yield run


def _stored(run: Run) -> dict[str, Any]:
    stored = modelyard.Api().run(run.path).summary
    return {key: value for key, value in stored.items() if not key.startswith("_")}


@pytest.mark.parametrize(
    ("summary", "goal", "kept"),
    [
        ("min", None, {"min": 1.0}),
        ("max", None, {"max": 3.0}),
        ("mean", None, {"mean": 2.0}),
        ("best", None, {"best": 1.0}),
        ("best", "minimize", {"best": 1.0}),
        ("best", "maximize", {"best": 3.0}),
        ("first", None, {"first": 3.0}),
        ("last", None, {"last": 2.0}),
        ("copy", None, 2.0),
        (None, None, 2.0),
        ("min, max,last", None, {"min": 1.0, "max": 3.0, "last": 2.0}),
    ],
)
def test_the_summary_has_what_was_asked_for(
    work: Path, summary: str | None, goal: str | None, kept: Any
) -> None:
    run = modelyard.init()
    run.define_metric("val", summary=summary, goal=goal)
    for value in VALUES:
        run.log({"val": value})
    run.finish()
    assert run.summary["val"] == kept
    assert _stored(run) == {"val": kept}


def test_none_keeps_a_metric_out_of_the_summary(run: Run) -> None:
    run.define_metric("noise.*", summary="none")
    run.log({"noise": {"a": 1}, "val": 2})
    assert "noise" not in run.summary
    assert run.summary["val"] == 2


def test_results_are_nested_as_the_metric_is(work: Path) -> None:
    run = modelyard.init()
    run.define_metric("val.*", summary="min")
    run.define_metric("val.acc", summary="max")
    for acc, loss in ((0.1, 5.0), (0.3, 7.0), (0.2, 6.0)):
        run.log({"val": {"acc": acc, "loss": loss}, "val.flat": loss})
    run.finish()
    assert run.summary["val"] == {"acc": {"max": 0.3}, "loss": {"min": 5.0}}
    assert run.summary["val.flat"] == {"min": 5.0}
    assert _stored(run)["val"]["acc"]["max"] == 0.3


def test_a_second_definition_adds_to_the_first_unless_it_overwrites(run: Run) -> None:
    run.define_metric("val", step_metric="epoch", summary="min")
    run.define_metric("val", goal="maximize")
    run.log({"epoch": 3})
    run.log({"val": 2})
    run.log({"val": 4})
    assert run.summary["val"] == {"min": 2}
    run.define_metric("val", summary="best")
    run.log({"val": 3})
    assert run.summary["val"] == {"best": 4}
    run.define_metric("val", summary="last", overwrite=True)
    run.log({"val": 1})
    assert run.summary["val"] == {"last": 1}


def test_a_step_metric_is_carried_to_rows_that_lack_it(work: Path) -> None:
    run = modelyard.init()
    run.define_metric("epoch", summary="max")
    run.define_metric("val/*", step_metric="epoch")
    run.define_metric("deep", step_metric="train.step")
    run.define_metric("alone", step_metric="epoch", step_sync=False)
    run.log({"epoch": 1, "train": {"step": 10}})
    run.log({"val/acc": 0.5})
    run.log({"deep": 1})
    run.log({"alone": 1})
    run.log({"val/acc": 0.6, "epoch": 2})
    run.finish()
    rows = [
        {key: value for key, value in row.items() if not key.startswith("_")}
        for row in modelyard.Api().run(run.path).scan_history()
    ]
    assert rows == [
        {"epoch": 1, "train.step": 10},
        {"val/acc": 0.5, "epoch": 1},
        {"deep": 1, "train.step": 10},
        {"alone": 1},
        {"val/acc": 0.6, "epoch": 2},
    ]


def test_results_of_a_resumed_run_go_on(work: Path) -> None:
    with modelyard.init() as run:
        run.define_metric("val", summary="min,max,first,best", goal="maximize")
        run.log({"val": 1})
        run.log({"val": 9})
    with modelyard.init(id=run.id, resume="must") as again:
        again.define_metric("val", summary="min,max,first,best", goal="maximize")
        again.log({"val": 5})
    assert _stored(run)["val"] == {"min": 1, "max": 9, "first": 1, "best": 9}


def test_what_users_set_stays_until_the_metric_is_logged_again(work: Path) -> None:
    run = modelyard.init()
    run.define_metric("val", summary="min")
    run.log({"val": 2, "acc": 0.5})
    run.summary["acc"] = 0.9
    run.summary["val"] = {"chosen": 1}
    run.log({"other": 1})
    assert (run.summary["acc"], run.summary["val"]) == (0.9, {"chosen": 1})
    run.log({"val": 3, "acc": 0.6})
    run.finish()
    assert (run.summary["acc"], run.summary["val"]) == (0.6, {"min": 2})
    assert _stored(run) == {"acc": 0.6, "val": {"min": 2}, "other": 1}


def test_nested_parts_of_the_summary_can_be_set(work: Path) -> None:
    run = modelyard.init()
    run.log({"val": {"acc": 0.5}})
    run.summary["val"]["best"] = 0.9
    run.summary.val.update({"where": {"epoch": 3}})
    run.summary["val"]["where"]["step"] = 30
    run.summary.val.where.lr = 0.1
    run.summary["gone"] = {"a": 1, "b": 2}
    del run.summary["gone"]["a"]
    assert run.summary["gone"].pop("b") == 2
    run.finish()
    kept = {"acc": 0.5, "best": 0.9, "where": {"epoch": 3, "step": 30, "lr": 0.1}}
    assert run.summary["val"] == kept
    assert _stored(run) == {"val": kept, "gone": {}}
    assert json.loads(json.dumps(run.summary["val"])) == kept
    assert pickle.loads(pickle.dumps(run.summary["val"])) == kept  # noqa: S301 - our own bytes
    with pytest.raises(errors.UsageError, match="finished"):
        run.summary["val"]["acc"] = 1


def test_a_hidden_metric_has_no_curve_in_the_closing_lines(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = modelyard.init()
    run.define_metric("noise*", hidden=True)
    for step in range(5):
        run.log({"noise1": step, "loss": step})
    run.finish()
    curves = capsys.readouterr().err.split("Run history:")[1].split("Run summary:")[0]
    assert "loss" in curves
    assert "noise1" not in curves


@pytest.mark.parametrize(
    "arguments",
    [{"name": "a*b"}, {"name": ""}, {"name": "a", "summary": "median"}, {"name": "a", "goal": "up"}],
)
def test_a_definition_that_makes_no_sense_is_an_error(run: Run, arguments: dict[str, str]) -> None:
    with pytest.raises(errors.Error, match="define_metric"):
        run.define_metric(**arguments)  # type: ignore[arg-type]  # texts, by name


def test_other_clients_can_read_what_was_defined(work: Path) -> None:
    run = modelyard.init(id="defined")
    run.define_metric("val.*", step_metric="epoch")
    run.define_metric("val.acc", summary="max,last", goal="maximize", step_sync=False)
    run.define_metric("noise*", hidden=True)
    run.define_metric("*", step_metric="_timestamp")
    run.define_metric("val.acc", hidden=True)
    run.log({"val.acc": 1})
    until(lambda: len(modelyard.Api().run(run.path).metric_definitions) == 4)
    run.finish()
    expected = {
        "val.*": {"step_metric": "epoch"},
        "val.acc": {"summary": "max,last", "goal": "maximize", "step_sync": False, "hidden": True},
        "noise*": {"hidden": True},
        "*": {"step_metric": "_timestamp"},
    }
    assert modelyard.Api().run(run.path).metric_definitions == expected
    modelyard.init(id="defined").finish()
    assert modelyard.Api().run(run.path).metric_definitions == {}
    latest, earlier = modelyard.Api().run(run.path).attempts()
    assert (latest.metric_definitions, earlier.metric_definitions) == ({}, expected)


def test_definitions_of_an_offline_run_are_sent_by_sync(work: Path) -> None:
    run = modelyard.init(mode="offline", id="offline")
    run.define_metric("loss", summary="min", goal="minimize")
    run.finish()
    run_command("sync")
    found = modelyard.Api().run(f"{os.environ['MODELYARD_PROJECT']}/offline")
    assert found.metric_definitions == {"loss": {"summary": "min", "goal": "minimize"}}
