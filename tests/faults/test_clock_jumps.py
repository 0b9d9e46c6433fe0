"""When the clock jumps, nothing with time left expires, and a server that was off for days still sweeps."""

from __future__ import annotations

import glob
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import run_pb2
from modelyard_server.domain.runs.runs import SILENT_AFTER
from modelyard_server.domain.sweep_clock import LEAP, PAUSE, Known, Moment, SweepClock, Times
from tests.clients import fast_upload
from tests.clients.waiting import until
from tests.parts.server import Factory, LiveServer, new_project

SECOND = 1_000_000
DAY = 24 * 3600 * SECOND
START = 1_700_000_000 * SECOND
ROUND = 60 * SECOND


class FakedClock:
    """The wall clock of the processes of `env`, by libfaketime; their monotonic clock runs on."""

    def __init__(self, folder: Path) -> None:
        (library,) = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
        self._file = folder / "clock"
        self.set("+0")
        self.env = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: str) -> None:
        """How far the clock is off, such as `+2d`."""
        new = self._file.with_suffix(".new")
        new.write_text(offset + "\n")
        os.replace(new, self._file)


def test_a_clock_two_days_ahead_for_a_while_ends_no_version_no_upload_and_no_run(
    live_server_factory: Factory, tmp_path: Path
) -> None:
    clock = FakedClock(tmp_path)
    server = live_server_factory("--sweep-seconds", "0.2", env=clock.env).start()
    stubs, project = server.stubs(), new_project()
    ttl = Duration(seconds=24 * 3600)
    version = fast_upload.log(stubs, project, "bert", {"f": []}, ttl=ttl).version
    run = stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project))).run
    upload_id = fast_upload.create(stubs, project=project)
    data = os.urandom(1000)
    fast_upload.send(stubs, upload_id, [data])
    until(lambda: has_swept(server))
    clock.set("+2d")
    rounds(server, "the database's clock is +172")
    clock.set("+0")
    found = stubs.artifacts.GetModelArtifactVersion(pb.GetModelArtifactVersionRequest(id=version.id)).version
    assert found.id == version.id
    assert stubs.runs.GetRun(run_pb2.GetRunRequest(id=run.id)).run.state == run_pb2.RUN_STATE_RUNNING
    assert fast_upload.find_missing(stubs, upload_id, [data]) == []


def has_swept(server: LiveServer) -> bool:
    """Whether a sweep has stored its time."""
    with closing(sqlite3.connect(server.data / "modelyard.db")) as database:
        return bool(database.execute("SELECT count(*) FROM sweep_time").fetchone()[0])


def rounds(server: LiveServer, said: str) -> None:
    """Waits until a sweep has logged the jump, and then a second for further sweeps."""
    until(lambda: said in server.log.read_text())
    time.sleep(1)


class Process:
    """A server's sweeps, by clocks that the test sets; `known` is what lies in the database."""

    def __init__(self, clock: int, known: Known | None = None) -> None:
        self.clock, self.monotonic = clock, 0
        self.known = known
        self._sweeps = SweepClock(0)
        self._sweeps.before_start = known.trusted if known else 0

    def sweep(self, after: int = ROUND, leap: int = 0) -> Times:
        """The times of a sweep so much later, by a clock that jumped meanwhile."""
        self.monotonic += after
        self.clock += after + leap
        moment = Moment(self.clock, self.monotonic)
        self.known = self._sweeps.judge(self.known, moment)
        return self._sweeps.note(self.known, moment)


def test_a_sweep_uses_the_clock_while_it_runs_evenly() -> None:
    process = Process(START)
    assert [process.sweep(leap=SECOND).now - START for _ in range(3)] == [
        (ROUND + SECOND) * number for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("leap", [2 * DAY, -2 * DAY, LEAP + SECOND])
def test_nothing_expires_after_a_clock_jump_until_the_clock_is_trusted(leap: int) -> None:
    process = Process(START)
    trusted = process.sweep().now
    for _ in range(3):
        assert process.sweep(leap=leap).now == min(trusted, process.clock)
        assert process.sweep().now == min(trusted, process.clock)
        assert process.sweep(leap=-leap).now == process.clock
        trusted = process.clock


def test_a_clock_is_trusted_again_an_hour_after_its_jump() -> None:
    process = Process(START)
    trusted = process.sweep().now
    process.sweep(leap=3 * DAY)
    while process.monotonic <= PAUSE + ROUND:
        assert process.sweep().now in {trusted, process.clock}
    assert process.sweep().now == process.clock


def test_a_server_that_was_off_for_three_days_sweeps_after_an_hour() -> None:
    process = Process(START + 3 * DAY, Known(START))
    assert process.sweep().now == START
    process.sweep(PAUSE)
    assert process.sweep().now == process.clock


def test_an_embedded_server_that_never_runs_for_an_hour_sweeps_the_next_day() -> None:
    first = Process(START + DAY, Known(START))
    assert first.sweep().now == START
    second = Process(START + 2 * DAY, first.known)
    assert second.sweep().now == second.clock


def test_a_clock_that_was_corrected_while_the_server_was_off_is_trusted() -> None:
    leapt = Process(START)
    leapt.sweep()
    leapt.sweep(leap=2 * DAY)
    again = Process(START + 10 * ROUND, leapt.known)
    assert again.sweep().now == again.clock


def test_a_restart_that_takes_a_minute_is_no_clock_jump() -> None:
    process = Process(START + ROUND, Known(START))
    assert process.sweep(SECOND).now == process.clock


def test_a_run_that_could_send_no_heartbeat_while_no_server_was_there_has_not_crashed() -> None:
    process = Process(START + ROUND, Known(START))
    assert process.sweep(SECOND).silent_before == START - SILENT_AFTER
    assert process.sweep(SILENT_AFTER).silent_before == process.clock - SILENT_AFTER
