"""`init` with the id of a run that exists: a new attempt of it, and what it was stays readable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import errors
from modelyard.api import PublicRun
from modelyard.runs.run import Run
from tests.clients.commands import run_command


def _stored(run: Run) -> PublicRun:
    return modelyard.Api().run(run.path)


def _rows(run: PublicRun) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key in {"_step", "loss"}} for row in run.scan_history()
    ]


def _attempt(losses: list[float], **arguments: Any) -> Run:
    with modelyard.init(id="again", **arguments) as run:
        for loss in losses:
            run.log({"loss": loss})
    return run


def test_the_same_id_begins_a_new_attempt_and_mixes_nothing(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = _attempt([3, 2, 1], config={"lr": 0.1, "only": "first"}, name="baseline", tags=["good"])
    second = _attempt([9], config={"lr": 0.2})
    assert not second.resumed
    assert (second.id, second.name, second.path) == (first.id, "baseline", first.path)
    stored = _stored(second)
    assert (stored.attempt, stored.config, stored.summary["loss"]) == (2, {"lr": 0.2}, 9)
    assert _rows(stored) == [{"_step": 0, "loss": 9}]
    assert "Started attempt 2 of run baseline" in capsys.readouterr().err
    latest, earlier = stored.attempts()
    assert (latest.attempt, earlier.attempt) == (2, 1)
    assert (earlier.config, earlier.state) == ({"lr": 0.1, "only": "first"}, "finished")
    assert earlier.summary["loss"] == 1
    assert _rows(earlier) == [{"_step": step, "loss": loss} for step, loss in enumerate([3, 2, 1])]
    assert [run.attempt for run in modelyard.Api().runs(first.project)] == [2], "one run, not two"


def test_changes_of_a_run_that_was_begun_anew_meanwhile_do_not_reach_the_new_attempt(work: Path) -> None:
    before = _stored(_attempt([1]))
    after = _attempt([2])
    before.notes, before.config["lr"] = "of the first", 1
    before.update()
    latest, earlier = _stored(after).attempts()
    assert (latest.config, latest.notes) == ({}, "")
    assert (earlier.config, earlier.notes) == ({"lr": 1}, "of the first")


def test_a_process_of_the_attempt_before_goes_on_in_its_own(work: Path) -> None:
    before = modelyard.init(id="again", reinit="create_new", config={"lr": 1})
    before.log({"loss": 1})
    after = modelyard.init(id="again", reinit="create_new", config={"lr": 2})
    after.log({"loss": 10})
    before.log({"loss": 2})
    before.config["late"] = True
    before.finish()
    after.log({"loss": 20})
    assert _stored(after).state == "running"
    after.finish()
    latest, earlier = _stored(after).attempts()
    assert [row["loss"] for row in _rows(latest)] == [10, 20]
    assert [row["loss"] for row in _rows(earlier)] == [1, 2]
    assert (latest.config, earlier.config) == ({"lr": 2}, {"lr": 1, "late": True})
    assert (latest.state, earlier.state) == ("finished", "finished")


def test_resume_goes_on_with_the_latest_attempt(work: Path) -> None:
    _attempt([1, 2])
    _attempt([3])
    run = _attempt([4], resume="allow")
    assert run.resumed
    assert _stored(run).attempt == 2
    assert _rows(_stored(run)) == [{"_step": 0, "loss": 3}, {"_step": 1, "loss": 4}]


def test_never_refuses_an_id_that_exists(work: Path) -> None:
    _attempt([1])
    with pytest.raises(errors.AlreadyExists, match="without resume"):
        _attempt([2], resume="never")


KILLED = """
import os, signal
import modelyard
run = modelyard.init(id="again")
for loss in range(50):
    run.log({"loss": loss})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_rows_that_a_killed_process_left_go_to_its_own_attempt(work: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED], timeout=120, check=False, capture_output=True)
    run = _attempt([7])
    folders = [str(path.parent) for path in Path("modelyard").glob("*/spool")]
    run_command("sync", *folders)
    latest, earlier = _stored(run).attempts()
    assert [row["loss"] for row in _rows(latest)] == [7]
    assert [row["loss"] for row in _rows(earlier)] == list(range(50))
    assert latest.summary["loss"] == 7


def test_an_offline_run_of_an_id_that_exists_becomes_a_new_attempt(work: Path) -> None:
    run = _attempt([1])
    offline = _attempt([5], mode="offline", project=run.project)
    folder = str(Path(offline.dir).parent)
    for _ in range(2):
        run_command("sync", folder)
    latest, earlier = _stored(run).attempts()
    assert (_rows(latest), _rows(earlier)) == ([{"_step": 0, "loss": 5}], [{"_step": 0, "loss": 1}])
