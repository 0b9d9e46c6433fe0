"""System metrics: what is measured, what they cost, and that nothing that hangs matters."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelyard.capture.system_metrics import SystemMetrics
from tests.clients.waiting import until

GPUS = """
class Rates: gpu, memory = 87, 41
class Memory: used, total = 30 << 30, 40 << 30
NVML_TEMPERATURE_GPU = 0
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(number): return number
def nvmlDeviceGetUtilizationRates(handle): return Rates
def nvmlDeviceGetMemoryInfo(handle): return Memory
def nvmlDeviceGetTemperature(handle, kind): return 60 + handle
def nvmlDeviceGetPowerUsage(handle): return 250_000
def nvmlDeviceGetEnforcedPowerLimit(handle):
    if handle: raise RuntimeError("Not Supported")
    return 400_000
"""
"""Stands for the package of NVIDIA's library, which needs its driver."""
PROGRAM = """
import json, sys, threading, time
from pathlib import Path
from modelyard.capture import system_metrics
system_metrics.ANSWER_SECONDS = 0.2
rows = []
there = threading.Event()
def send(row):
    rows.append(row)
    if len(rows) == 3: there.set()
metrics = system_metrics.SystemMetrics(send, Path("."), seconds=0.1, label={label!r})
metrics.start()
assert there.wait(30)
metrics.stop()
print(json.dumps(rows[-1]))
"""


def rows_of(count: int, folder: Path, **options: object) -> list[Mapping[str, float]]:
    """The first rows of this process."""
    rows: list[Mapping[str, float]] = []
    metrics = SystemMetrics(rows.append, folder, seconds=0.1, **options)  # type: ignore[arg-type]
    metrics.start()
    until(lambda: len(rows) >= count)
    metrics.stop()
    metrics.join()
    return rows


def test_a_row_has_processors_memory_disk_and_network(tmp_path: Path) -> None:
    row = rows_of(2, tmp_path)[-1]
    assert set(row) >= {
        "system.cpu", "system.cpu_percent", "system.proc.cpu.threads", "system.proc.memory.rssMB",
        "system.proc.memory.percent", "system.proc.memory.availableMB", "system.memory_percent",
        "system.disk.dir.usagePercent", "system.disk.dir.usageGB", "system.network.sent",
        "system.network.recv",
    }  # fmt: skip
    for name in row:
        if name.endswith(("percent", "Percent")) or name == "system.cpu":
            assert 0 <= row[name] <= 110, (name, row[name])
    assert row["system.proc.cpu.threads"] >= 2
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert row["system.proc.memory.rssMB"] == pytest.approx(
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20, rel=0.3
    )


def test_a_busy_process_is_seen(tmp_path: Path) -> None:
    busy, ended = True, threading.Event()

    def work() -> None:
        while busy:
            sum(range(1000))
        ended.set()

    threading.Thread(target=work, daemon=True).start()
    rows = rows_of(6, tmp_path)
    busy = False
    ended.wait()
    assert max(row["system.cpu"] for row in rows[1:]) > 10 / len(os.sched_getaffinity(0))


def test_children_are_summed_up_under_the_same_names_however_many_there_were(tmp_path: Path) -> None:
    code = "kept = bytearray(b'x' * (64 << 20)); print(flush=True); input()"
    before = rows_of(2, tmp_path)[-1].get("system.proc.children.count", 0)  # servers of the tests
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    children = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=apart)
        for apart in (False, False, True)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    rows = rows_of(2, tmp_path)
    for child in children:
        child.communicate(b"\n")
    assert rows[-1]["system.proc.children.count"] == before + 2
    assert rows[-1]["system.proc.children.memory.rssMB"] >= 128
    assert {name for name in rows[-1] if "children" in name} == {
        f"system.proc.children.{name}" for name in ("count", "cpu", "memory.rssMB")
    }


def test_what_is_written_and_received_counts_from_the_beginning(tmp_path: Path) -> None:
    rows = rows_of(3, tmp_path)
    for name in ("system.network.sent", "system.network.recv"):
        values = [row[name] for row in rows]
        assert values == sorted(values)
        assert values[0] < 1 << 30


def _run(tmp_path: Path, nvml: str, label: str = "") -> Mapping[str, float]:
    (tmp_path / "pynvml.py").write_text(nvml)
    (tmp_path / "program.py").write_text(PROGRAM.format(label=label))
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    row: Mapping[str, float] = __import__("json").loads(done.stdout)
    return row


def test_graphics_processors_are_read_and_what_one_lacks_is_left_out(tmp_path: Path) -> None:
    row = _run(tmp_path, textwrap.dedent(GPUS))
    ours = {name: value for name, value in row.items() if name.startswith("system.gpu")}
    assert ours == {
        "system.gpu.0.gpu": 87, "system.gpu.0.memory": 41, "system.gpu.0.memoryAllocated": 75.0,
        "system.gpu.0.memoryAllocatedBytes": 30 << 30, "system.gpu.0.temp": 60,
        "system.gpu.0.powerWatts": 250.0, "system.gpu.0.powerPercent": 62.5,
        "system.gpu.0.enforcedPowerLimitWatts": 400.0,
        "system.gpu.1.gpu": 87, "system.gpu.1.memory": 41, "system.gpu.1.memoryAllocated": 75.0,
        "system.gpu.1.memoryAllocatedBytes": 30 << 30, "system.gpu.1.temp": 61,
        "system.gpu.1.powerWatts": 250.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "nvml",
    [
        "raise ImportError",
        "def nvmlInit(): raise OSError('no driver')",
        "import time\ndef nvmlInit(): time.sleep(600)",
        GPUS + "\nimport time\ndef nvmlDeviceGetMemoryInfo(handle): time.sleep(600)",
    ],
    ids=["broken", "no driver", "hangs at once", "hangs later"],
)
def test_a_driver_that_fails_or_hangs_costs_its_own_values_only(tmp_path: Path, nvml: str) -> None:
    began = time.monotonic()
    row = _run(tmp_path, nvml)
    assert time.monotonic() - began < 20
    assert not [name for name in row if name.startswith("system.gpu")]
    assert "system.memory_percent" in row


def test_the_process_is_named_where_several_log_to_one_run(tmp_path: Path) -> None:
    row = _run(tmp_path, "raise ImportError", label="rank 1")
    assert "system.cpu/l:rank 1" in row
    assert all(name.endswith("/l:rank 1") for name in row)


def test_a_folder_that_is_gone_costs_its_own_values_only(tmp_path: Path) -> None:
    row = rows_of(2, tmp_path / "not there")[-1]
    assert "system.disk.dir.usagePercent" not in row
    assert "system.memory_percent" in row


def test_a_receiver_that_fails_does_not_end_it(tmp_path: Path) -> None:
    calls: list[int] = []

    def fail(row: Mapping[str, float]) -> None:
        calls.append(1)
        raise OSError

    metrics = SystemMetrics(fail, tmp_path, seconds=0.1)
    metrics.start()
    until(lambda: len(calls) >= 3)
    metrics.stop()
