"""What a run logged reaches the server exactly once, however its process ended."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard.api import PublicRun
from modelyard.v1 import metric_pb2
from modelyard.v1 import run_pb2 as pb
from tests.clients.commands import COMMAND, json_of
from tests.clients.waiting import until
from tests.parts.embedded import isolate
from tests.parts.fork_server import ROOT
from tests.parts.server import Factory, LiveServer

SECONDS = 120

START = """
import os, signal, sys, threading, time
import modelyard
run = modelyard.init(config={"lr": 0.1})
print(run.path, flush=True)
"""
LOG_100 = """
for step in range(100):
    run.log({"a": step, "text": "x" * (step % 3), **({"rare": step} if step % 7 == 0 else {})})
run.config["late"] = 1
run.summary["best"] = 5
"""
ENDS = {
    "os._exit(0)": "os._exit(0)",
    "os.abort()": "os.abort()",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
}
ENDLESS = """
step = 0
while True:
    run.log({"a": step, "b": step / 2})
    step += 1
    os.write(1, b"." * 1)
"""
BY_STEP = """
for step in range(50):
    run.log({"a": step}, step=step)
    run.log({"b": step / 2}, step=step)
os._exit(0)
"""


def _sync(*arguments: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json_of("sync", *map(str, arguments))
    return found


def _stored(path: str) -> PublicRun:
    return modelyard.Api().run(path)


def _values(path: str, key: str = "a") -> list[Any]:
    return [row[key] for row in _stored(path).scan_history(keys=[key])]


def _ended(script: str) -> str:
    """Runs a program that prints its run's path first; returns the path."""
    done = subprocess.run(
        [sys.executable, "-c", START + script], capture_output=True, text=True, timeout=SECONDS
    )
    return done.stdout.split()[0]


@pytest.mark.parametrize("how", ENDS)
def test_rows_logged_before_a_sudden_end_are_sent_by_sync(work: Path, how: str) -> None:
    path = _ended(LOG_100 + ENDS[how])
    (sent,) = _sync()
    run = _stored(path)
    assert (sent["path"], sent["state"], run.state) == (path, "crashed", "crashed")
    assert _values(path) == list(range(100))
    assert _values(path, "rare") == list(range(0, 100, 7))
    assert (run.config, run.summary["best"], run.summary["a"]) == ({"lr": 0.1, "late": 1}, 5, 99)
    assert run.summary["_step"] == 99
    assert _sync() == []
    assert not list(work.glob("modelyard/run-*/spool"))


def test_a_row_that_was_still_open_is_kept_too(work: Path) -> None:
    path = _ended(BY_STEP)
    _sync()
    rows = [(row["_step"], row["a"], row["b"]) for row in _stored(path).scan_history()]
    assert rows == [(step, step, step / 2) for step in range(50)]


def test_an_exception_loses_nothing_and_leaves_nothing(work: Path) -> None:
    path = _ended(LOG_100 + "1 / 0")
    assert _stored(path).state == "failed"
    assert _values(path) == list(range(100))
    assert _sync() == []


def _killed_at_random(seed: int) -> tuple[str, int]:
    """The path of a run whose process was killed while it logged, and how many rows it had logged."""
    generator = random.Random(seed)
    with subprocess.Popen([sys.executable, "-c", START + ENDLESS], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        path = process.stdout.readline().decode().strip()
        said = len(process.stdout.read(generator.choice([1, 100, 5_000, 50_000, 150_000])))
        time.sleep(generator.random() / 10)  # so that it dies anywhere in what it does
        process.send_signal(signal.SIGKILL)
        said += len(process.stdout.read())
    return path, said


def _check_killed(seeds: Sequence[int]) -> None:
    for seed in seeds:
        path, logged = _killed_at_random(seed)
        _sync()
        run = _stored(path)
        rows = [(row["_step"], row["a"], row["b"]) for row in run.scan_history()]
        assert rows == [(step, step, step / 2) for step in range(len(rows))]
        assert len(rows) in {logged, logged + 1}
        assert (run.state, run.summary["a"]) == ("crashed", len(rows) - 1)


def test_a_process_killed_while_it_logs_loses_no_row_and_none_is_stored_twice(work: Path) -> None:
    _check_killed(range(5))


@pytest.mark.slow
def test_thirty_processes_killed_at_random_lose_no_row(work: Path) -> None:
    _check_killed(range(100, 130))


def test_a_sync_that_is_killed_is_repeated_without_a_row_twice(work: Path) -> None:
    path, logged = _killed_at_random(3)
    generator = random.Random(1)
    for _ in range(5):
        with subprocess.Popen([sys.executable, *COMMAND, "sync"]) as process:
            time.sleep(0.3 + generator.random() / 2)
            process.send_signal(signal.SIGKILL)
    _sync()
    assert _values(path) == list(range(len(_values(path))))
    assert len(_values(path)) in {logged, logged + 1}


def test_a_resumed_run_sends_what_was_left_and_goes_on_after_it(work: Path) -> None:
    path, logged = _killed_at_random(7)
    run = modelyard.init(id=path.rpartition("/")[2], resume="must")
    assert run.step in {logged, logged + 1}
    run.log({"a": run.step, "b": 0.0})
    run.finish()
    assert _values(path) == list(range(len(_values(path))))
    assert _stored(path).state == "finished"
    assert _sync() == []


def test_sync_leaves_a_run_alone_that_goes_on(work: Path) -> None:
    run = modelyard.init()
    run.log({"a": 1})
    assert _sync() == []
    run.log({"a": 2})
    run.finish()
    assert _values(run.path) == [1, 2]


def test_what_is_left_of_an_earlier_attempt_goes_to_that_attempt(work: Path) -> None:
    path = _ended(LOG_100 + "os._exit(0)")
    name, connection = path.rpartition("/")[2], modelyard.Api()._workspace.connection
    request = pb.CreateRunRequest(
        run=pb.Run(name=name, project=path.split("/")[1]), resume=pb.RESUME_POLICY_NEW_ATTEMPT
    )
    began: pb.Run = connection.runs.CreateRun(request).run
    assert began.attempt == 2
    (sent,) = _sync()
    assert (sent["rows"], sent["state"]) == (100, "crashed")
    latest = _stored(path)
    assert (latest.state, latest.config, latest.summary) == ("running", {}, {})
    assert list(latest.scan_history()) == []
    request_of_first = metric_pb2.ScanMetricHistoryRequest(run_id=began.id, attempt=1)
    batches = [reply.batch for reply in connection.metrics.ScanMetricHistory(request_of_first)]
    assert [step for batch in batches for step in batch.steps] == list(range(100))
    first: pb.Run = connection.runs.GetRun(pb.GetRunRequest(id=began.id, attempt=1)).run
    assert first.state == pb.RUN_STATE_CRASHED


def test_sync_does_not_end_a_run_that_was_resumed_elsewhere(work: Path, tmp_path: Path) -> None:
    path = _ended(LOG_100 + "os._exit(0)")
    (folder,) = work.glob("modelyard/run-*")
    for file in [*folder.rglob("*.spool"), *folder.rglob("*sent.json")]:
        os.utime(file, (time.time() - 3600, time.time() - 3600))
    other = modelyard.init(id=path.rpartition("/")[2], resume="must", dir=tmp_path / "elsewhere")
    (sent,) = _sync(folder)
    assert sent["state"] == "running"
    other.log({"b": 1})
    other.finish()
    assert _values(path) == list(range(100))
    assert _stored(path).state == "finished"


WITHOUT_LOCKS = """
import os
import modelyard
from modelyard import cli
run = modelyard.init()
for step in range(100):
    run.log({"a": step})
assert cli.run(["sync", os.environ["MODELYARD_DIR"]]) == 0
for step in range(100, 200):
    run.log({"a": step})
run.finish()
assert cli.run(["sync", os.environ["MODELYARD_DIR"]]) == 0
print(run.path)
"""


def test_a_sync_beside_a_run_harms_nothing_where_there_are_no_locks(work: Path) -> None:
    (work / "script.py").write_text(WITHOUT_LOCKS)
    done = subprocess.run(
        [sys.executable, "-m", "tests.parts.system.without_locks", work / "script.py"],
        cwd=ROOT, env={**os.environ, "MODELYARD_DIR": str(work)},
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    path = done.stdout.split()[-1]
    assert (_values(path), _stored(path).state) == (list(range(200)), "finished")
    assert not list(work.glob("modelyard/run-*/spool/*"))


# A server that is away.


@pytest.fixture
def away(live_server_factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveServer:
    """A server of the test's own, which the SDK of this process uses."""
    isolate(monkeypatch, tmp_path)
    server = live_server_factory("--no-auth").start()
    monkeypatch.setenv("MODELYARD_URL", server.url)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return server


def test_a_server_that_restarts_while_a_run_logs_gets_every_row(away: LiveServer) -> None:
    run = modelyard.init(project="away")
    for step in range(3_000):
        run.log({"a": step})
        if step % 1_000 == 500:
            away.kill()
        if step % 1_000 == 900:
            away.start()
    run.finish()
    assert _values(run.path) == list(range(3_000))
    assert _stored(run.path).state == "finished"


MANY = """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
run.log({f"metric_{key}": 0.5 for key in range(10)})
run._tracking.flush()
print("sent", flush=True)
sys.stdin.readline()
before = resident()
for step in range(300_000):
    run.log({f"metric_{key}": step + 0.5 for key in range(10)})
print((resident() - before) >> 20, flush=True)
os._exit(0)
"""


def test_memory_does_not_grow_while_the_server_is_gone(away: LiveServer) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", START + MANY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        path = process.stdout.readline().strip()
        assert process.stdout.readline() == "sent\n"
        away.kill()
        process.stdin.write("go\n")
        process.stdin.flush()
        grown = int(process.stdout.readline())
    assert grown < 20, "MiB; the rows have 30 MiB"
    away.start()
    (sent,) = _sync()
    assert sent["rows"] == 300_000
    assert _stored(path).lastHistoryStep == 300_000


def test_a_server_that_is_gone_slows_neither_training_nor_its_end(
    away: LiveServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELYARD_FINISH_TIMEOUT", "1")
    run = modelyard.init(project="away")
    run.log({"a": 0})
    run._tracking.flush()  # type: ignore[union-attr]  # the run is online
    away.kill()
    began = time.monotonic()
    for step in range(1, 20_000):
        run.log({"a": step})
    logged = time.monotonic()
    run.finish(exit_code=3)
    assert logged - began < 10
    assert time.monotonic() - logged < 20
    said = capsys.readouterr().err
    assert re.search("19,999 rows(, . files?)? and the end of run", said)
    folder = said.rpartition("modelyard sync ")[2].strip()
    away.start()
    until(lambda: not _in_use(folder), 90)
    assert (_values(run.path), _stored(run.path).state) == (list(range(20_000)), "failed")
    assert _stored(run.path)._record.exit_code == 3


def _in_use(folder: str) -> bool:
    """Whether sync left the folder alone, since the thread of this process still sends."""
    return _sync(folder) == []
