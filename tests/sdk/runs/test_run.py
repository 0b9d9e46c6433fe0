"""Runs: config, rows, summary, and how they end."""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelyard
from modelyard import errors
from modelyard.api import PublicRun
from modelyard.runs.run import Run
from tests.parts.embedded import isolate, stop_embedded


@pytest.fixture
def disabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    isolate(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    run = modelyard.init(mode="disabled")
    yield run
    run.finish()


def _stored(run: Run) -> PublicRun:
    return modelyard.Api().run(run.path)


def _rows(run: Run) -> list[dict[str, object]]:
    hidden = {"_timestamp", "_runtime"}
    return [
        {key: value for key, value in row.items() if key not in hidden} for row in _stored(run).scan_history()
    ]


def test_calls_before_init_say_what_is_missing() -> None:
    with pytest.raises(errors.Error, match=r"You must call modelyard\.init\(\) before modelyard\.log\(\)"):
        modelyard.log({"a": 1})
    with pytest.raises(errors.Error, match=r"before modelyard\.config"):
        modelyard.config["a"]


def test_a_run_is_found_again_as_it_was_logged(embedded: Path) -> None:
    run = modelyard.init(
        project="runs", config={"lr": 0.1, "layers": [1, 2]}, name="first", notes="n", tags=["a", "b"],
        group="g", job_type="train",
    )  # fmt: skip
    run.log({"loss": 1.5, "epoch": 0})
    run.log({"loss": math.nan, "epoch": 1, "note": "x"})
    run.finish()
    stored = _stored(run)
    assert stored.state == "finished"
    assert stored.config == {"lr": 0.1, "layers": [1, 2]}
    assert (stored.name, stored.notes, stored.tags, stored.group, stored.job_type) == (
        "first", "n", ["a", "b"], "g", "train",
    )  # fmt: skip
    rows = _rows(run)
    assert rows[0] == {"_step": 0, "loss": 1.5, "epoch": 0}
    assert math.isnan(rows[1].pop("loss"))  # type: ignore[arg-type]  # a float, or the test fails
    assert rows[1] == {"_step": 1, "epoch": 1, "note": "x"}
    assert math.isnan(stored.summary["loss"])
    assert stored.summary["_step"] == 1


def test_entity_and_project_have_defaults(embedded: Path) -> None:
    run = modelyard.init()
    assert (run.entity, run.project) == ("local", "uncategorized")
    assert len(run.id) == 8
    assert run.name.count("-") == 2


def test_summary_of_both_sides_is_equal(embedded: Path) -> None:
    run = modelyard.init(project="runs")
    run.define_metric("val", summary="min,max")
    run.define_metric("hidden", summary="none")
    for value in (3.0, 1.0, 2.0):
        run.log({"val": value, "hidden": value, "nested": {"deep": {"x": value}}})
    run.summary["chosen"] = {"by": "hand"}
    run.finish()
    assert run.summary["val"] == {"min": 1.0, "max": 3.0}
    assert run.summary["nested"] == {"deep": {"x": 2.0}}
    assert "hidden" not in run.summary
    assert _stored(run).summary == dict(run.summary)
    assert [row["nested.deep.x"] for row in _rows(run)] == [3.0, 1.0, 2.0]


def test_changes_of_a_run_reach_the_server(embedded: Path) -> None:
    run = modelyard.init(project="runs", config={"a": 1})
    run.config["b"] = 2
    run.config.update({"a": 3}, allow_val_change=True)
    run.name = "renamed"
    run.notes = "why"
    run.tags += ("good",)
    run.summary["x"] = 1
    del run.summary["x"]
    run.finish()
    stored = _stored(run)
    assert stored.config == {"a": 3, "b": 2}
    assert (stored.name, stored.notes, stored.tags) == ("renamed", "why", ["good"])
    assert "x" not in stored.summary


def test_two_calls_at_one_step_make_one_row(embedded: Path) -> None:
    run = modelyard.init(project="runs")
    run.log({"a": 1}, step=5)
    run.log({"b": 2}, step=5)
    run.log({"a": 3}, step=9)
    run.log({"late": 1}, step=3)
    run.log({"c": 4}, commit=False)
    run.log({"d": 5})
    run.log({"e": 6})
    run.finish()
    assert _rows(run) == [
        {"_step": 5, "a": 1, "b": 2},
        {"_step": 9, "a": 3, "c": 4, "d": 5},
        {"_step": 10, "e": 6},
    ]


def test_many_rows_of_many_kinds_arrive_whole(embedded: Path) -> None:
    run = modelyard.init(project="runs")
    for step in range(25_000):
        run.log(
            {"i": step, "f": step / 2, "s": "x" * (step % 50), **({"rare": step} if step % 1000 == 0 else {})}
        )
    run.finish()
    rows = _rows(run)
    assert len(rows) == 25_000
    assert [row["i"] for row in rows] == list(range(25_000))
    assert [row["_step"] for row in rows if "rare" in row] == list(range(0, 25_000, 1000))


def test_rows_survive_a_killed_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_DATA_DIR", str(tmp_path / "data"))
    run = modelyard.init(project="runs")
    try:
        for step in range(300):
            run.log({"i": step})
            if step in {100, 200}:
                run._tracking.flush()  # type: ignore[union-attr]  # the run is online
                stop_embedded(tmp_path / "data", signal.SIGKILL)
        run.finish()
        assert [row["i"] for row in _rows(run)] == list(range(300))
        assert _stored(run).state == "finished"
    finally:
        stop_embedded(tmp_path / "data")


def test_an_exception_in_the_block_fails_the_run(embedded: Path) -> None:
    with pytest.raises(ZeroDivisionError), modelyard.init(project="runs") as run:
        run.log({"a": 1 / 0})
    assert _stored(run).state == "failed"


@pytest.mark.parametrize(
    ("end", "state"),
    [("", "finished"), ("raise ValueError('bad')", "failed"), ("import sys; sys.exit(3)", "failed")],
)
def test_a_script_that_ends_without_finish(embedded: Path, end: str, state: str) -> None:
    script = (
        f"import modelyard\nrun = modelyard.init(project='ends')\nrun.log({{'a': 1}})\nprint(run.path)\n{end}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    run = modelyard.Api().run(done.stdout.strip())
    assert run.state == state
    assert [row["a"] for row in run.scan_history()] == [1]
    assert f"View run: modelyard open {done.stdout.strip()}" in done.stderr


def test_a_forked_process_logs_to_the_run_and_does_not_end_it(embedded: Path) -> None:
    run = modelyard.init(project="runs")
    run.log({"a": 1})
    run.log({"open": 1}, commit=False)
    child = os.fork()
    if child == 0:
        run.log({"a": 2})
        run.config["from"] = "child"
        modelyard.log({"a": 3}, step=7)
        run.finish()
        os._exit(0 if modelyard.session.active() is None else 1)  # type: ignore[attr-defined]  # no public name
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    run.log({"a": 4})
    run.finish()
    assert sorted(_rows(run), key=lambda row: str(row["a"])) == [
        {"_step": 0, "a": 1},
        {"_step": 1, "a": 2},
        {"_step": 7, "a": 3},
        {"_step": 1, "a": 4, "open": 1},
    ]
    assert (_stored(run).state, _stored(run).config["from"]) == ("finished", "child")


def test_resume_continues_at_the_next_step(embedded: Path) -> None:
    run = modelyard.init(project="runs", config={"a": 1})
    run.log({"x": 1})
    run.finish()
    again = modelyard.init(project="runs", id=run.id, resume="must")
    assert again.resumed
    assert again.step == 1
    assert again.config["a"] == 1
    again.log({"x": 2})
    again.finish()
    assert [(row["_step"], row["x"]) for row in _rows(run)] == [(0, 1), (1, 2)]
    with pytest.raises(errors.AlreadyExists, match="resume"):
        modelyard.init(project="runs", id=run.id, resume="never")
    with pytest.raises(errors.NotFound):
        modelyard.init(project="runs", id="nosuch", resume="must")


def test_a_second_init_returns_the_active_run(disabled: Run) -> None:
    assert modelyard.init(mode="disabled") is disabled
    other = modelyard.init(mode="disabled", reinit=True)
    assert other is not disabled
    with pytest.raises(errors.UsageError, match="finished"):
        disabled.log({"a": 1})
    disabled.finish()  # again: changes nothing
    other.finish()


@pytest.mark.parametrize("option", ["resume_from", "fork_from"])
def test_rewinding_is_refused(option: str) -> None:
    with pytest.raises(errors.UsageError):
        modelyard.init(mode="disabled", **{option: "run?_step=3"})  # type: ignore[arg-type]  # a str for a str


def test_a_disabled_run_accepts_every_call(disabled: Run, tmp_path: Path) -> None:
    artifact = modelyard.Artifact("a", "dataset")
    disabled.log({"a": 1})
    assert disabled.log_artifact(artifact) is artifact
    disabled.log_model(tmp_path)
    disabled.link_model(tmp_path, "M")
    assert disabled.use_model("m:latest").endswith("artifacts/m:latest")
    assert disabled.use_artifact("d", type="dataset").type == "dataset"
    disabled.watch(object())
    disabled.alert("title", "text")
    assert disabled.save("*.txt") == []
    assert disabled.summary["a"] == 1


@pytest.mark.parametrize("data", [[("a", 1)], 5, {1: 2}])
def test_log_takes_dicts_with_text_keys_only(disabled: Run, data: object) -> None:
    with pytest.raises(TypeError):
        disabled.log(data)  # type: ignore[arg-type]  # that is the point


def test_config_keys_change_only_when_allowed(disabled: Run) -> None:
    disabled.config.lr = 0.1
    with pytest.raises(errors.ConfigError, match=r'"lr" from 0\.1 to 0\.2'):
        disabled.config["lr"] = 0.2
    disabled.config.update({"lr": 0.2}, allow_val_change=True)
    disabled.config.setdefaults({"lr": 5, "new": 6})
    assert dict(disabled.config) == {"lr": 0.2, "new": 6}
    with pytest.raises(AttributeError):
        _ = disabled.config.missing


def test_config_comes_from_namespaces_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    (tmp_path / "config.yaml").write_text("lr:\n  value: 0.5\nname:\n  value: x\n")
    with modelyard.init(mode="disabled", config=str(tmp_path / "config.yaml")) as run:
        assert dict(run.config) == {"lr": 0.5, "name": "x"}
    namespace = argparse.Namespace(lr=1, secret=2)
    with modelyard.init(mode="disabled", config=namespace, config_exclude_keys=["secret"]) as run:
        assert dict(run.config) == {"lr": 1}
    with pytest.raises(errors.ConfigError):
        modelyard.init(mode="disabled", config=str(tmp_path / "missing.yaml"))


def test_variables_of_both_names_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "theirs")
    monkeypatch.setenv("MODELYARD_ENTITY", "ours")
    monkeypatch.setenv("MODELYARD_TAGS", "a, b")
    with modelyard.init(mode="disabled") as run:
        assert (run.entity, run.project, run.tags) == ("ours", "theirs", ("a", "b"))


def test_numbers_of_other_libraries_become_numbers(disabled: Run) -> None:
    class Scalar:
        shape = ()

        def item(self) -> float:
            return 1.25

    disabled.log({"x": Scalar(), "path": Path("a/b")})
    assert disabled.summary["x"] == 1.25
    assert disabled.summary["path"] == "a/b"


def test_a_step_metric_that_every_row_has_is_not_carried_along(embedded: Path) -> None:
    run = modelyard.init(project="runs")
    run.define_metric("loss", step_metric="_step")
    run.log({"loss": 3})
    run.log({"loss": 2})
    run.finish()
    assert _rows(run) == [{"_step": 0, "loss": 3}, {"_step": 1, "loss": 2}]


def test_a_defined_step_metric_is_carried_along(embedded: Path) -> None:
    run = modelyard.init(project="runs")
    run.define_metric("epoch")
    run.define_metric("val.*", step_metric="epoch")
    run.log({"epoch": 3})
    run.log({"val.acc": 0.5})
    run.finish()
    assert _rows(run)[1] == {"_step": 1, "epoch": 3, "val.acc": 0.5}
