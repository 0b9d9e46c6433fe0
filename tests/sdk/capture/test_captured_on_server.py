"""Console and system metrics of runs, as a server has them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard.rpc.connection import Connection
from modelyard.v1 import metric_pb2, run_console_pb2
from modelyard.workspace import Workspace
from tests.clients.commands import run_command
from tests.clients.waiting import until
from tests.parts.fork_server import start_python


def connection() -> Connection:
    from modelyard.configuration.settings import current

    return Workspace(current()).connection


def lines(path: str, **fields: Any) -> list[run_console_pb2.ConsoleLine]:
    """The lines of a run's console."""
    run_id = modelyard.Api().run(path)._record.id
    request = run_console_pb2.ListConsoleLinesRequest(run_id=run_id, page_size=1000, **fields)
    return list(connection().consoles.ListConsoleLines(request).lines)


def texts(path: str) -> list[str]:
    """The texts of the lines, without our own messages."""
    return [line.text for line in lines(path) if not line.text.startswith("modelyard:")]


def system_rows(path: str) -> list[dict[str, float]]:
    """The rows of system metrics."""
    run_id = modelyard.Api().run(path)._record.id
    request = metric_pb2.ScanMetricHistoryRequest(run_id=run_id, stream=metric_pb2.METRIC_STREAM_SYSTEM)
    rows: list[dict[str, float]] = []
    for reply in connection().metrics.ScanMetricHistory(request):
        batch: list[dict[str, float]] = [{"step": step} for step in reply.batch.steps]
        for column in reply.batch.columns:
            points = column.doubles or column.ints or [point.double_value for point in column.values]
            for index, point in zip(column.rows or range(len(batch)), points, strict=True):
                batch[index][column.key] = point
        rows += batch
    return rows


def test_both_streams_are_on_the_server_in_order_with_colours(work: Path) -> None:
    with modelyard.init() as run:
        print("\033[1mepoch\033[0m 1")
        print("careful", file=sys.stderr)
        print("epoch 2")
    found = [line for line in lines(run.path) if not line.text.startswith("modelyard:")]
    assert [line.text for line in found] == ["\033[1mepoch\033[0m 1", "careful", "epoch 2"]
    assert [line.stream for line in found] == [1, 2, 1]
    assert {line.process for line in found} == {""}
    assert all(abs(line.write_time.seconds - run.start_time) < 60 for line in found)


def test_a_progress_bar_is_one_line_while_the_run_goes_on(work: Path) -> None:
    from tqdm import tqdm

    run = modelyard.init()
    bar = tqdm(total=3, file=sys.stderr, mininterval=0)
    bar.update()
    until(lambda: any("1/3" in text for text in texts(run.path)))
    bar.update(2)
    bar.close()
    until(lambda: any("3/3" in text for text in texts(run.path)))
    run.finish()
    assert len([text for text in texts(run.path) if "/3" in text]) == 1


def test_a_row_of_system_metrics_arrives_and_the_history_has_none_of_it(work: Path) -> None:
    settings = modelyard.Settings(x_stats_sampling_interval=0.2)
    with modelyard.init(settings=settings) as run:
        run.log({"x": 1})
        until(lambda: len(system_rows(run.path)) >= 3)
    rows = system_rows(run.path)
    assert all("system.memory_percent" in row for row in rows)
    (row,) = modelyard.Api().run(run.path).scan_history()
    assert not [name for name in row if name.startswith("system")]
    assert not [name for name in modelyard.Api().run(run.path).summary if name.startswith("system")]


def test_rows_of_the_code_and_of_the_machine_do_not_displace_each_other(work: Path) -> None:
    settings = modelyard.Settings(x_stats_sampling_interval=0.1)
    with modelyard.init(settings=settings) as run:
        until(lambda: len(system_rows(run.path)) >= 4)
        found = modelyard.Api().run(run.path)
        for number in range(4):
            run.log({"x": number})
            until(lambda: found.load().lastHistoryStep == number)  # noqa: B023  # called before the next
    assert [row["x"] for row in found.scan_history()] == [0, 1, 2, 3]
    steps = [row["step"] for row in system_rows(run.path)]
    assert steps == list(range(len(steps)))


def test_settings_turn_both_off(work: Path) -> None:
    settings = modelyard.Settings(x_stats_sampling_interval=0.1, x_disable_stats=True, console="off")
    with modelyard.init(settings=settings) as run:
        print("not kept")
        assert "write" not in vars(sys.stdout)
    assert lines(run.path) == []
    assert system_rows(run.path) == []


def test_a_wrong_setting_is_an_error_that_names_the_choices(work: Path) -> None:
    with pytest.raises(ValueError, match="console is one of auto, off, redirect, wrap"):
        modelyard.init(settings={"console": "on"})


END = {
    "uncaught": ("raise ValueError('at the end')", "ValueError: at the end"),
    "in with": ("with run:\n    raise ValueError('in the block')", "ValueError: in the block"),
    "exit": ("print('last'); sys.exit(3)", "last"),
    "thread": ("import threading\nt = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
               "ZeroDivisionError: division by zero"),
}  # fmt: skip


@pytest.mark.parametrize("how", END)
def test_what_a_program_prints_at_its_end_is_kept(work: Path, how: str) -> None:
    code, last = END[how]
    program = f"import sys, modelyard\nrun = modelyard.init(id='ends')\nprint('first')\n{code}\n"
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)
    path = f"{os.environ['MODELYARD_ENTITY']}/{os.environ['MODELYARD_PROJECT']}/ends"
    found = texts(path)
    assert found[0] == "first"
    assert last in found


def test_forked_children_are_told_apart(work: Path) -> None:
    program = """
        import multiprocessing, modelyard
        def work(number):
            print("from", number)
        if __name__ == "__main__":
            run = modelyard.init(id="forks")
            print("parent")
            context = multiprocessing.get_context("fork")
            children = [context.Process(target=work, args=(n,), name=f"loader {n}") for n in (1, 2)]
            for child in children: child.start()
            for child in children: child.join()
            print("parent again")
            run.finish()
    """
    Path("program.py").write_text(textwrap.dedent(program))
    subprocess.run([sys.executable, "program.py"], check=True, capture_output=True, timeout=60)
    path = f"{os.environ['MODELYARD_ENTITY']}/{os.environ['MODELYARD_PROJECT']}/forks"
    found = {(line.process, line.text) for line in lines(path) if not line.text.startswith("modelyard:")}
    assert found == {("", "parent"), ("", "parent again"), ("loader 1", "from 1"), ("loader 2", "from 2")}


SPAWNED = """
import multiprocessing, sys, modelyard
def work(run, number):
    print("from", number)
    run.finish()
    print("to", number, file=sys.stderr)
if __name__ == "__main__":
    run = modelyard.init(id="spawned", settings={"console": sys.argv[2]})
    print("parent")
    context = multiprocessing.get_context(sys.argv[1])
    for number in (1, 2):
        child = context.Process(target=work, args=(run, number), name=f"loader {number}")
        child.start()
        child.join()
    with context.Pool(1) as pool:
        pool.starmap(work, [(run, 3)] * 5, chunksize=1)
        pool.close()
        pool.join()
    run.finish()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_children_that_are_given_the_run_are_told_apart_and_kept_once(work: Path, method: str) -> None:
    Path("program.py").write_text(SPAWNED)
    command = [sys.executable, "program.py", method, "wrap"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    path = f"{os.environ['MODELYARD_ENTITY']}/{os.environ['MODELYARD_PROJECT']}/spawned"
    found = [(line.process, line.text) for line in lines(path) if not line.text.startswith("modelyard:")]
    single = [("", "parent")]
    single += [(f"loader {number}", f"{word} {number}") for number in (1, 2) for word in ("from", "to")]
    pooled = [(process.split("Pool")[-1][:6], text) for process, text in found if text.endswith("3")]
    assert sorted(one for one in found if not one[1].endswith("3")) == sorted(single)
    assert sorted(pooled) == [("Worker", "from 3")] * 5 + [("Worker", "to 3")] * 5


def test_children_of_a_run_whose_console_is_off_keep_nothing(work: Path) -> None:
    Path("program.py").write_text(SPAWNED)
    command = [sys.executable, "program.py", "spawn", "off"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert texts(f"{os.environ['MODELYARD_ENTITY']}/{os.environ['MODELYARD_PROJECT']}/spawned") == []


def test_ranks_of_a_shared_run_are_told_apart(work: Path) -> None:
    settings = {"x_stats_sampling_interval": 0.1}
    first = modelyard.init(id="job", mode="shared", settings=settings)
    print("from the first")
    program = f"""
        import time, modelyard
        run = modelyard.init(id="job", mode="shared", settings={settings})
        print("from the second")
        time.sleep(0.5)
        run.finish()
    """
    Path("rank.py").write_text(textwrap.dedent(program))
    environment = {**os.environ, "RANK": "1", "LOCAL_RANK": "1"}
    subprocess.run([sys.executable, "rank.py"], check=True, capture_output=True, timeout=60, env=environment)
    until(lambda: len(system_rows(first.path)) >= 2)
    first.finish()
    ours = [line for line in lines(first.path) if line.text.startswith("from")]
    assert {(line.process, line.text) for line in ours} == {
        ("", "from the first"), ("rank 1", "from the second")
    }  # fmt: skip
    names = {name for row in system_rows(first.path) for name in row}
    assert {"system.cpu", "system.cpu_percent", "system.disk.in", "system.cpu/l:rank 1"} <= names
    own = {name for name in names if name.endswith("/l:rank 1")}
    assert all(name.startswith(("system.cpu/", "system.proc.")) for name in own)  # the machine only once


def test_lines_and_rows_are_stored_once_however_often_sync_sends_them(work: Path) -> None:
    program = """
        import sys, time, modelyard
        run = modelyard.init(id="killed", mode="offline", settings={"x_stats_sampling_interval": 0.1})
        for number in range(1000):
            print("line", number, flush=True)
            if number in (20, 40):
                print("ready", file=sys.stderr, flush=True)
            time.sleep(0.1)
    """
    process = start_python(
        "-c", textwrap.dedent(program), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    path = f"{os.environ['MODELYARD_ENTITY']}/{os.environ['MODELYARD_PROJECT']}/killed"
    for _ in range(2):
        while "ready" not in process.stderr.readline():
            pass
        run_command("sync")
    process.kill()
    process.wait()
    process.stderr.close()
    run_command("sync")
    _check_stored(path)
    (folder,) = work.glob("modelyard/offline-run-*")
    (folder / "sent.json").unlink()
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**info, "sent": False}))
    run_command("sync")
    _check_stored(path)


def _check_stored(path: str) -> None:
    rows = system_rows(path)
    assert len(rows) > 25
    assert [row["step"] for row in rows] == list(range(len(rows)))
    found = [text for text in texts(path) if text.startswith("line")]
    assert found == [f"line {number}" for number in range(len(found))]
    assert len(found) > 30
