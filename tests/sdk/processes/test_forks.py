"""Forks: neither process hangs and no row is lost, whatever runs while a process forks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import modelyard

SECONDS = 240

START = """
import multiprocessing, os, sys, threading, time
import modelyard
run = modelyard.init(project="forks")
stopped = threading.Event()
logged = 0

def log_and_send():
    global logged
    while not stopped.is_set():
        run.log({"a": logged})
        logged += 1
        run._tracking.flush()

def alive(child):
    if child == 0:
        raise AssertionError("the child came back")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, status
            return
        time.sleep(0.005)
    os.kill(child, 9)
    raise AssertionError("the child hangs")

def finish(*threads):
    stopped.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    run.finish()
    rows = [row["a"] for row in modelyard.Api().run(run.path).scan_history(keys=["a"])]
    assert [row for row in rows if row >= 0] == list(range(logged)), (len(rows), logged)
    print("whole", -sum(row for row in rows if row < 0))
"""

POOLS = """
def square(number):
    return number * number
sender = threading.Thread(target=log_and_send)
sender.start()
for epoch in range({epochs}):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(square, range(8)) == [number * number for number in range(8)]
finish(sender)
"""

POOLS_THAT_LOG = """
def square(number):
    run.log({{"a": -1}})
    return number * number
for epoch in range({epochs}):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        run.log({{"a": logged}})
        logged += 1
        assert pool.map(square, range(8)) == [number * number for number in range(8)]
run._tracking.flush()
assert len(run._tracking.folder.row_spools.writers()) == 1, "those of the workers are sent and removed"
finish()
"""

CHILDREN_THAT_CALL = """
sender = threading.Thread(target=log_and_send)
sender.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        run.log({"from": "child"})
        run.config.update({"from": "child"}, allow_val_change=True)
        run.summary["from"] = "child"
        run._tracking.flush()
        found = modelyard.Api().run(run.path)
        os._exit(0 if found.state == "running" else 1)
    alive(child)
finish(sender)
stored = modelyard.Api().run(run.path)
assert stored.config["from"] == stored.summary["from"] == "child"
assert len(list(stored.scan_history(keys=["from"]))) == 10
"""

LOADER = """
class Loader:
    '''Workers that take indexes from a queue and put batches into another, as a DataLoader has.'''
    def __init__(self):
        context = multiprocessing.get_context("fork")
        self.indexes, self.batches = context.Queue(), context.Queue()
        self.workers = [context.Process(target=self.work, daemon=True) for _ in range(2)]
        for worker in self.workers:
            worker.start()
    def work(self):
        for index in iter(self.indexes.get, None):
            self.batches.put(index * 2)
    def __iter__(self):
        for index in range(20):
            self.indexes.put(index)
        for _ in range(20):
            yield self.batches.get(timeout=60)
        for _ in self.workers:
            self.indexes.put(None)
        for worker in self.workers:
            worker.join(60)
            assert worker.exitcode == 0
for epoch in range(10):
    for batch in Loader():
        run.log({"a": logged})
        logged += 1
finish()
"""

UPLOAD = """
with open("big.bin", "wb") as file:
    file.write(os.urandom(40 << 20))
def upload():
    artifact = modelyard.Artifact("big", "model")
    artifact.add_file("big.bin")
    run.log_artifact(artifact).wait()
uploader = threading.Thread(target=upload)
uploader.start()
while uploader.is_alive():
    child = os.fork()
    if child == 0:
        os._exit(0)
    alive(child)
    time.sleep(0.2)
modelyard.Api().artifact(f"{run.entity}/forks/big:latest").download(root="back")
assert open("back/big.bin", "rb").read() == open("big.bin", "rb").read()
finish(uploader)
"""

WATCH = """
seen = []
events = modelyard.Api().events(f"{run.entity}/forks", follow=True)
def watch():
    for event in events:
        seen.append(event.sequence)
watcher = threading.Thread(target=watch)
watcher.start()
for number in range(5):
    child = os.fork()
    if child == 0:
        os._exit(0)
    alive(child)
    artifact = modelyard.Artifact(f"m{number}", "model", metadata={"n": number})
    run.log_artifact(artifact).wait()
deadline = time.monotonic() + 60
while seen != sorted(set(seen)) or len(seen) < 5:
    assert time.monotonic() < deadline, seen
    time.sleep(0.05)
events.close()
finish(watcher)
"""

SUBPROCESSES = """
import subprocess
sender = threading.Thread(target=log_and_send)
sender.start()
for _ in range(20):
    subprocess.run(["true"], preexec_fn=os.setsid, check=True, timeout=60)
finish(sender)
"""

TERMINATED = """
import signal
for _ in range(200):
    child = os.fork()
    if child == 0:
        time.sleep(100)
        os._exit(1)
    os.kill(child, signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == signal.SIGTERM
finish()
"""


SPAWNED = """
import multiprocessing, sys
import modelyard

def work(run, number):
    run.log({"worker": number})
    run.log({"worker": number}, step=100 + number)
    run.config[f"worker{number}"] = number
    run.log_artifact(__file__, name=f"by{number}", type="code")
    run.finish()

if __name__ == "__main__":
    run = modelyard.init()
    run.log({"a": 1})
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(work, [(run, 0), (run, 1)])
    run.log({"a": 2})
    run.finish()
    stored = modelyard.Api().run(run.path)
    rows = sorted((row["_step"], row["worker"]) for row in stored.scan_history(keys=["_step", "worker"]))
    assert rows == [(1, 0), (1, 1), (100, 0), (101, 1)], rows
    assert [row["a"] for row in stored.scan_history(keys=["a"])] == [1, 2]
    assert (stored.config, stored.state) == ({"worker0": 0, "worker1": 1}, "finished")
    assert sorted(version.name for version in stored.logged_artifacts()) == ["by0:v0", "by1:v0"]
    print("whole")
"""

SHARED = """
import sys
import modelyard
with modelyard.init(id=sys.argv[1], mode="shared") as run:
    for step in range(100):
        run.log({"rank": int(sys.argv[2])}, step=step)
    run._tracking.flush()
    print("logged", flush=True)
    sys.stdin.readline()
    run.log({"rank": int(sys.argv[2])}, step=100)
"""


PROBES = """
import os, socket, threading, time
from modelyard.configuration.addresses import Endpoint
from modelyard.host import forking
from modelyard.rpc import connection, unreachable

opened, closed = threading.Event(), threading.Event()

class Watched:
    '''A channel that says when it was opened and closed.'''
    def __init__(self, *arguments):
        self.channel = connection.open_channel(*arguments)
    def __enter__(self):
        opened.set()
        return self.channel
    def __exit__(self, *error):
        self.channel.close()
        closed.set()

def serve():
    taken, _ = listener.accept()
    taken.sendall(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))  # the settings of HTTP/2, and no answer to any call
    held.append(taken)

held = []
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, daemon=True).start()
endpoint = Endpoint(f"127.0.0.1:{listener.getsockname()[1]}", tls=False)
forking.guard()
probe = threading.Thread(target=unreachable.told_by, args=(endpoint, "127.0.0.1", Watched))
probe.start()
assert opened.wait(60)
while not held:
    time.sleep(0.001)
assert not closed.is_set()
child = os.fork()
if child == 0:
    os._exit(0 if closed.is_set() else 1)
assert os.waitpid(child, 0)[1] == 0, "the child began while a probe had a channel"
probe.join(60)
"""


def _run(script: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", START + script], capture_output=True, text=True, timeout=SECONDS, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert "whole" in done.stdout
    return str(done.stdout)


def test_a_pool_in_each_epoch_neither_hangs_nor_loses_rows(work: Path) -> None:
    _run(POOLS.format(epochs=40), work)


def test_rows_of_the_workers_of_pools_arrive(work: Path) -> None:
    assert _run(POOLS_THAT_LOG.format(epochs=10), work).split() == ["whole", "80"]


@pytest.mark.slow
def test_pools_of_three_hundred_epochs_neither_hang_nor_lose_rows(embedded: Path) -> None:
    _run(POOLS.format(epochs=300), embedded)


def test_what_children_log_arrives_and_they_may_call_the_server(work: Path) -> None:
    _run(CHILDREN_THAT_CALL, work)


def test_workers_that_load_data_do_not_hang(work: Path) -> None:
    _run(LOADER, work)


def test_an_upload_goes_on_across_forks(work: Path) -> None:
    _run(UPLOAD, work)


def test_a_watch_goes_on_across_forks(work: Path) -> None:
    _run(WATCH, work)


def test_a_program_that_is_started_with_a_function_of_its_own_does_not_hang(work: Path) -> None:
    _run(SUBPROCESSES, work)


def test_a_child_that_is_ended_at_once_ends(work: Path) -> None:
    _run(TERMINATED, work)


def test_a_fork_waits_for_the_probes_of_a_server_that_is_away(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBES], capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_spawned_workers_that_are_given_the_run_log_to_it(work: Path) -> None:
    (work / "trains.py").write_text(SPAWNED)
    done = subprocess.run(
        [sys.executable, "trains.py"], capture_output=True, text=True, timeout=SECONDS, cwd=work
    )
    assert done.returncode == 0, done.stderr
    assert "whole" in done.stdout


def test_processes_that_share_a_run_lose_no_row_whichever_ends_it_first(work: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SHARED, "ranks", str(rank)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in ranks:
        assert process.stdout is not None
        assert process.stdout.readline() == "logged\n"
    for process in ranks:
        process.communicate("go\n", timeout=SECONDS)
        assert process.returncode == 0
    run = modelyard.Api().run("ranks")
    rows = [(row["rank"], row["_step"]) for row in run.scan_history(keys=["_step", "rank"])]
    assert sorted(rows) == [(rank, step) for rank in range(2) for step in range(101)]
    assert run.state == "finished"
    assert not list(work.glob("modelyard/run-*/spool"))
