"""Several active runs in one process, and what a second `init` does with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import modelyard
from modelyard import errors
from modelyard.api import PublicRun
from tests.parts.fork_server import start_python


def _stored(path: str) -> PublicRun:
    return modelyard.Api().run(path)


def test_several_runs_log_side_by_side(work: Path) -> None:
    with modelyard.init(reinit="create_new", config={"lr": 1}) as outer:
        assert modelyard.run is None, "the module's run is left alone"
        for size in (1, 2):
            with modelyard.init(reinit="create_new", config={"size": size}) as inner:
                inner.log({"x": size})
                outer.log({"done": size})
    assert [row["done"] for row in _stored(outer.path).scan_history()] == [1, 2]
    assert [row["x"] for row in _stored(inner.path).scan_history()] == [2]
    assert (_stored(outer.path).config, _stored(inner.path).config) == ({"lr": 1}, {"size": 2})
    assert {_stored(run.path).state for run in (outer, inner)} == {"finished"}


def test_the_modules_run_stays_while_others_come_and_go(work: Path) -> None:
    main = modelyard.init()
    other = modelyard.init(reinit="create_new")
    assert modelyard.run is main
    modelyard.log({"a": 1})
    other.finish()
    assert modelyard.run is main
    main.finish()
    assert modelyard.run is None
    assert "a" not in _stored(other.path).summary


def test_return_previous_gives_the_newest_run_that_is_active(work: Path) -> None:
    main = modelyard.init()
    other = modelyard.init(reinit="create_new")
    assert modelyard.init(reinit="return_previous") is other
    assert modelyard.init() is other
    other.finish()
    assert modelyard.init(settings={"reinit": "return_previous"}) is main
    main.finish()
    assert modelyard.init(reinit="return_previous") is modelyard.run


@pytest.mark.parametrize("rule", ["finish_previous", True])
def test_finish_previous_ends_all_of_them(work: Path, rule: str | bool) -> None:
    before = [modelyard.init(), modelyard.init(reinit="create_new"), modelyard.init(reinit="create_new")]
    after = modelyard.init(reinit=rule)
    assert modelyard.run is after
    assert [_stored(run.path).state for run in before] == ["finished"] * 3
    with pytest.raises(errors.UsageError):
        before[1].log({"a": 1})


def test_an_unknown_rule_is_an_error(work: Path) -> None:
    with pytest.raises(errors.UsageError, match="create_new"):
        modelyard.init(reinit="sometimes")


SEVERAL = """
import os, signal, sys
import modelyard
runs = [modelyard.init(project="ends"), *(modelyard.init(project="ends", reinit="create_new") for _ in "ab")]
for number, run in enumerate(runs):
    run.log({"a": number})
print(*(run.path for run in runs), flush=True)
"""


@pytest.mark.parametrize(("end", "state"), [("", "finished"), ("1 / 0", "failed"), ("sys.exit(3)", "failed")])
def test_a_process_that_ends_ends_all_of_its_runs(embedded: Path, end: str, state: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL + end], capture_output=True, text=True, timeout=120, check=False
    )
    runs = [_stored(path) for path in done.stdout.split()]
    assert [run.state for run in runs] == [state] * 3, done.stderr
    assert [run.summary["a"] for run in runs] == [0, 1, 2]


def test_a_signal_ends_all_runs_of_its_process(embedded: Path) -> None:
    end = "os.kill(os.getpid(), signal.SIGTERM)\nsignal.pause()"
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL + end], capture_output=True, text=True, timeout=120, check=False
    )
    runs = [_stored(path) for path in done.stdout.split()]
    assert [run.state for run in runs] == ["killed"] * 3, done.stderr
    assert [run.summary["a"] for run in runs] == [0, 1, 2]


SHARED = """
import sys
import modelyard
with modelyard.init(id="shared", mode="shared", config={sys.argv[1]: 1}) as run:
    run.log({sys.argv[1]: 1})
    sys.stdin.read()
"""


def test_processes_join_one_run(work: Path) -> None:
    with modelyard.init(id="shared", mode="shared", config={"first": 1}) as run:
        run.log({"first": 1})
        other = start_python("-c", SHARED, "second", stdin=subprocess.PIPE)
        assert other.stdin is not None
        other.stdin.close()
        assert other.wait(120) == 0
        assert _stored(run.path).state == "running", "the process that made the run ends it"
        run.log({"first": 2})
    stored = _stored(run.path)
    assert stored.config == {"first": 1, "second": 1}
    assert (stored.summary["first"], stored.summary["second"], stored.state) == (2, 1, "finished")
