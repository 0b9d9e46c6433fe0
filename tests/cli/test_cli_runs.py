"""`modelyard run …` and `modelyard history`."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard.cli.runs import screen
from modelyard.cli.runs.curves import Curves
from modelyard.runs.run import Run
from modelyard.v1 import run_console_pb2 as console_pb
from modelyard.v1 import run_pb2 as pb
from tests.clients.commands import COMMAND, json_of, on_terminal, refused, run_command
from tests.parts.fork_server import start_python


@pytest.fixture
def run(embedded: Path, request: pytest.FixtureRequest) -> Run:
    """A run that goes on, in a project of its own."""
    return modelyard.init(project=re.sub(r"\W", "-", request.node.name), name="first", config={"lr": 0.1})


@pytest.fixture
def ended(run: Run) -> str:
    """The path of a run that ended, with fifty rows."""
    for step in range(50):
        run.log({"loss": 1 / (step + 1), "val": {"acc": float(step == 33)}})
    run.finish()
    return str(run.path)


@contextmanager
def _watching(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = start_python(
        *COMMAND, "run", "watch", *arguments,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def _console(run: Run, sequence: int, texts: list[str], number: int = 1) -> str:
    """Logs lines as the run's process does; returns the path of the run."""
    found = modelyard.Api().run(run.path)
    lines = [
        console_pb.ConsoleLine(number=number + index, stream=console_pb.CONSOLE_STREAM_STDERR, text=text)
        for index, text in enumerate(texts)
    ]
    for line in lines:
        line.write_time.GetCurrentTime()
    request = console_pb.LogConsoleLinesRequest(
        run_id=found._record.id, writer="w", sequence=sequence, lines=lines
    )
    found._workspace.connection.consoles.LogConsoleLines(request)
    return str(run.path)


def test_runs_are_listed_newest_first_filtered_and_ordered(ended: str, run: Run) -> None:
    with modelyard.init(project=run.project, name="second") as other:
        other.log({"loss": 0.5})
    names = [each["display_name"] for each in json_of("run", "ls", str(run.project))["runs"]]
    assert names == ["second", "first"]
    chosen = json_of("run", "ls", str(run.project), "--filter", "summary.loss < 0.1")
    assert [each["ref"] for each in chosen["runs"]] == [ended]
    by_loss = json_of("run", "ls", f"local/{run.project}", "--order", "+summary_metrics.loss", "--limit", "1")
    assert ([each["display_name"] for each in by_loss["runs"]], by_loss["more"]) == (["first"], True)
    text = run_command("run", "ls", str(run.project)).stdout
    assert re.search(rf"{ended} +first +finished .*loss=0.02", text)
    assert "no field" in refused(1, "run", "ls", str(run.project), "--order", "-loss")


def test_a_run_is_shown_with_the_curves_of_its_metrics(ended: str) -> None:
    text = run_command("run", "show", ended).stdout
    assert "Config     lr = 0.1" in text
    assert re.search(r"^loss +█.*▁ +0.02  0.02 … 1$", text, re.MULTILINE)
    assert re.search(r"^val.acc +▁*█▁+ +0  0 … 1$", text, re.MULTILINE)
    shown = json_of("run", "show", ended)
    assert (shown["kind"], shown["state"], shown["last_step"]) == ("run", "finished", 49)
    assert shown["earlier_attempts"] == []
    assert "was not found" in refused(3, "run", "show", ended[:-1] + "_")


def test_an_earlier_attempt_is_shown(ended: str, run: Run) -> None:
    anew = pb.Run(name=run.id, entity="local", project=run.project)
    request = pb.CreateRunRequest(run=anew, resume=pb.RESUME_POLICY_NEW_ATTEMPT)
    modelyard.Api()._workspace.connection.runs.CreateRun(request)
    assert json_of("run", "show", ended)["earlier_attempts"] == [{"attempt": 1, "state": "finished"}]
    assert re.search(r"ATTEMPT +STATE +LAST STEP\n1 +finished +49", run_command("run", "show", ended).stdout)
    assert json_of("run", "show", ended, "--attempt", "1")["summary"]["loss"] == 0.02
    assert len(run_command("history", ended, "--attempt", "1", "--json").stdout.splitlines()) == 50
    assert run_command("history", ended, "--csv").stdout == "_step,_timestamp,_runtime\n"
    assert "has no attempt 3; its latest is 2" in refused(3, "history", ended, "--attempt", "3")


def test_a_history_is_printed_as_curves_and_rows(ended: str) -> None:
    done = run_command("history", ended, "--keys", "loss")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("loss  █")
    assert lines[2].split() == ["STEP", "loss"]
    assert (lines[3].split(), lines[-1].split()) == (["0", "1"], ["49", "0.02"])
    assert len(lines) == 23
    assert "20 of 50 rows" in done.stderr
    assert run_command("history", ended, "--keys", "nothing").stderr == "No rows.\n"


def test_a_history_is_exported_completely_or_in_samples(run: Run) -> None:
    run.log({"loss": math.nan, "note": 'a "b", c'})
    run.log({"loss": math.inf, "bins": [1, 2]})
    run.log({"acc": 0.5})
    run.finish()
    text = run_command("history", str(run.path), "--csv").stdout
    rows = list(csv.DictReader(text.splitlines()))
    assert list(rows[0]) == ["_step", "_timestamp", "_runtime", "acc", "bins", "loss", "note"]
    assert [(row["loss"], row["note"], row["acc"], row["bins"]) for row in rows] == [
        ("nan", 'a "b", c', "", ""),
        ("inf", "", "", "[1, 2]"),
        ("", "", "0.5", ""),
    ]
    chosen = list(
        csv.DictReader(
            run_command("history", str(run.path), "--csv", "--keys", "loss,acc").stdout.splitlines()
        )
    )
    assert [(row["_step"], row["loss"], row["acc"]) for row in chosen] == [
        ("0", "nan", ""),
        ("1", "inf", ""),
        ("2", "", "0.5"),
    ]
    lines = run_command("history", str(run.path), "--json", "--samples", "2").stdout.splitlines()
    assert [json.loads(line)["_step"] for line in lines] == [0, 2]
    assert "not both" in run_command("history", str(run.path), "--json", "--csv").stderr


def test_runs_are_deleted_all_or_none(ended: str, run: Run) -> None:
    with modelyard.init(project=run.project) as other:
        pass
    assert "was not found" in refused(3, "run", "rm", ended, f"{run.project}/no-such-run")
    code, shown = on_terminal("run", "rm", ended, answer="n\n")
    assert (code, "Delete 1 run with their metrics?" in shown) == (1, True)
    deleted = json_of("run", "rm", ended, str(other.path))["deleted"]
    assert deleted == [ended, other.path]
    assert json_of("run", "ls", str(run.project))["runs"] == []


def test_a_watch_prints_rows_as_they_are_logged_and_ends_with_the_run(run: Run) -> None:
    with _watching(str(run.path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{run.path} (first) running\n"
        run.log({"loss": 0.5, "val": {"acc": 1}})
        assert process.stdout.readline() == "step 0  loss=0.5  val.acc=1\n"
        run.log({"loss": 0.25})
        run.finish(exit_code=2)
        assert process.communicate(timeout=60) == (
            f"step 1  loss=0.25\n{run.path} (first) failed (exit code 2)\n",
            "",
        )
        assert process.returncode == 0


def test_the_console_of_a_run_is_printed_searched_and_watched(run: Run) -> None:
    first = _console(run, 1, ["start", "10 %", "\x1b[31mbad\x1b[0m"])
    assert run_command("run", "console", first).stdout == "start\n10 %\nbad\n"
    with _watching(first) as process:
        assert process.stdout is not None
        shown = [process.stdout.readline() for _ in range(4)]
        assert shown == [f"{first} (first) running\n", "| start\n", "| 10 %\n", "| \x1b[31mbad\x1b[0m\n"]
        _console(run, 2, ["100 %"], number=2)
        _console(run, 3, ["end"], number=4)
        assert process.stdout.readline() == "| end\n"
        run.finish()
        assert process.communicate(timeout=60) == (f"{first} (first) finished\n", "")
    assert run_command("run", "console", first, "--last", "2").stdout == "bad\nend\n"
    assert run_command("run", "console", first, "--text", "BA").stdout == "bad\n"
    line = json.loads(run_command("run", "console", first, "--json", "--last", "1").stdout)
    assert (line["text"], line["stream"], line["number"]) == ("end", "stderr", 4)
    assert (
        json.loads(run_command("run", "watch", first, "--json").stdout.splitlines()[1])["console"] == "100 %"
    )


def test_a_watch_writes_json_lines_and_ends_on_an_interrupt(run: Run) -> None:
    run.log({"loss": math.inf, "other": 1})
    with _watching(str(run.path), "--json", "--keys", "loss") as process:
        assert process.stdout is not None
        row: Any = {}
        while row.get("_step") != 0:
            row = json.loads(process.stdout.readline())
        assert (row["loss"], "other" in row) == ({"$": "inf"}, False)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0
        assert said == f"Follow it again: modelyard run watch {run.path}\n"


@pytest.mark.parametrize("columns", [120, 40, 12])
def test_a_terminal_shows_the_curves_in_place(ended: str, columns: int) -> None:
    code, shown = on_terminal("run", "watch", ended, columns=columns)
    assert code == 0
    assert shown.endswith("\x1b[?25h")
    frame = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "")
    lines = frame.splitlines()
    assert lines[0].startswith("first")
    assert all(len(line) <= columns for line in lines)
    assert ("█" in frame) == (columns > 12)
    assert any(line.startswith("loss") for line in lines)


def test_a_picture_replaces_the_one_before_also_on_a_narrower_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LINES", "10")
    monkeypatch.setenv("COLUMNS", "20")
    view = screen.Screen()
    view.draw(["x" * 20, "y"])
    monkeypatch.setenv("COLUMNS", "10")  # the first line has two rows now
    view.draw(["z"] * 30)
    drawn = capsys.readouterr().out
    assert "\x1b[3F\x1b[J" in drawn
    assert drawn.count("z\n") == 9


def test_text_is_cut_by_columns_and_colours_take_none() -> None:
    assert screen.cut_coloured("\x1b[1mabcdef\x1b[0m", 6) == "\x1b[1mabcdef\x1b[0m"
    assert screen.cut_coloured("\x1b[1mabcdef\x1b[0m", 4) == "\x1b[1mabc…\x1b[0m"
    assert screen.cut_coloured("雪雪雪", 4) == "雪…"
    assert screen.cut_coloured("a\tb\rc\x07", 9) == "abc"


def test_curves_of_many_metrics_fit_the_lines_there_are() -> None:
    curves = Curves()
    for step in range(5000):
        curves.add([{"_step": step, **{f"m{number:02}": step * number for number in range(30)}, "text": "x"}])
    lines = curves.lines(80, 10)
    assert len(lines) == 10
    assert lines[-1] == "… and 22 more"
    assert all(len(line) <= 80 for line in lines)
    assert curves.by_key["m01"].largest == 4999
    assert len(curves.by_key["m01"].points) <= 2000
