"""Readings of processors, memory, network and disk, by psutil."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelyard.host import forking, machine

MB, GB = float(1 << 20), float(1 << 30)


class ProcessReadings:
    """Of this process and its children. The percentages of processors are those since the reading before.

    cpu                       this process, of all processors it may use, in percent
    proc.cpu.threads          its threads
    proc.memory.rssMB         its memory, in MiB
    proc.memory.percent       the same in percent of the machine's
    proc.children.count, .cpu, .memory.rssMB
                              processes that it and its children have started, in its session:
                              how many, and their sums; pages that they share count in each
    """

    def __init__(self) -> None:
        with forking.running():  # a child that is forked in the middle of an import could not import it
            import psutil  # imported when first needed: a thread loads it

        self._psutil = psutil
        self._process = psutil.Process()
        self._processors = machine.cpu_count() or 1
        self._children: dict[int, Any] = {}
        self._had_children = False
        self._process.cpu_percent()  # it is relative to the call before

    def __call__(self) -> Mapping[str, float]:
        """The present values; without those that this system does not have."""
        return _known(self._cpu, self._memory, self._of_children)

    def _cpu(self) -> Mapping[str, float]:
        return {
            "cpu": self._process.cpu_percent() / self._processors,
            "proc.cpu.threads": self._process.num_threads(),
        }

    def _memory(self) -> Mapping[str, float]:
        own = self._process.memory_info().rss
        return {
            "proc.memory.rssMB": own / MB,
            "proc.memory.percent": 100 * own / self._psutil.virtual_memory().total,
        }

    def _of_children(self) -> Mapping[str, float]:
        """Sums over the children; nothing before the first one."""
        session = os.getsid(0)
        found: dict[int, Any] = {}
        cpu = memory = 0.0
        for child in self._process.children(recursive=True):
            with suppress(self._psutil.Error, OSError):  # it has just ended
                # Our own servers and helpers are in sessions of their own.
                if os.getsid(child.pid) == session:
                    known = self._children.get(child.pid)
                    child = known if known == child else child  # the same object knows its time before
                    memory += child.memory_info().rss
                    cpu += child.cpu_percent()
                    found[child.pid] = child
        self._children = found
        self._had_children = self._had_children or bool(found)
        if not self._had_children:
            return {}
        return {
            "proc.children.count": len(found),
            "proc.children.cpu": cpu / self._processors,
            "proc.children.memory.rssMB": memory / MB,
        }


class MachineReadings:
    """Of the whole machine. The percentage of processors is that since the reading before.

    cpu_percent               the processors, in percent
    proc.memory.availableMB   free memory, in MiB
    memory_percent            used memory, in percent
    network.sent, .recv       bytes since the first reading
    """

    def __init__(self) -> None:
        with forking.running():  # a child that is forked in the middle of an import could not import it
            import psutil  # imported when first needed: a thread loads it

        self._psutil = psutil
        self._network = (0, 0)
        with suppress(Exception):
            self._network = self._traffic()
        psutil.cpu_percent()  # it is relative to the call before

    def __call__(self) -> Mapping[str, float]:
        """The present values; without those that this system does not have."""
        return _known(self._processors, self._memory, self._traffic_since)

    def _processors(self) -> Mapping[str, float]:
        return {"cpu_percent": self._psutil.cpu_percent()}

    def _memory(self) -> Mapping[str, float]:
        whole = self._psutil.virtual_memory()
        return {
            "proc.memory.availableMB": whole.available / MB,
            "memory_percent": whole.percent,
        }

    def _traffic(self) -> tuple[int, int]:
        counts = self._psutil.net_io_counters()
        return (counts.bytes_sent, counts.bytes_recv) if counts else (0, 0)

    def _traffic_since(self) -> Mapping[str, float]:
        sent, received = self._traffic()
        return {"network.sent": sent - self._network[0], "network.recv": received - self._network[1]}


class DiskReadings:
    """Of the disk that holds a folder, and of all disks.

    disk.dir.usagePercent, .usageGB   how full the folder's disk is; used space in GiB
    disk.in, .out                     MiB that the machine read and wrote since the first reading
    """

    def __init__(self, folder: Path) -> None:
        with forking.running():  # a child that is forked in the middle of an import could not import it
            import psutil  # imported when first needed: a thread loads it

        self._psutil = psutil
        self._folder = folder
        self._moved = (0, 0)
        with suppress(Exception):
            self._moved = self._counts()

    def __call__(self) -> Mapping[str, float]:
        """The present values; without those that this system does not have."""
        return _known(self._usage, self._moved_since)

    def _usage(self) -> Mapping[str, float]:
        usage = self._psutil.disk_usage(str(self._folder))
        return {"disk.dir.usagePercent": usage.percent, "disk.dir.usageGB": usage.used / GB}

    def _counts(self) -> tuple[int, int]:
        counts = self._psutil.disk_io_counters()
        return (counts.read_bytes, counts.write_bytes) if counts else (0, 0)

    def _moved_since(self) -> Mapping[str, float]:
        read, written = self._counts()
        return {"disk.in": (read - self._moved[0]) / MB, "disk.out": (written - self._moved[1]) / MB}


def _known(*parts: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
    """The values of all parts but those that this system refuses, as containers do."""
    found: dict[str, float] = {}
    for part in parts:
        with suppress(Exception):
            found |= part()
    return found
