"""Readings of processors, memory, network and disk, by psutil."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from modelyard.host import forking, machine

MB, GB = float(1 << 20), float(1 << 30)


class MachineReadings:
    """Of this process and its machine. The percentages of processors are those since the reading before.

    cpu                       this process, of all processors it may use, in percent
    cpu_percent               the machine, in percent
    proc.cpu.threads          threads of this process
    proc.memory.rssMB         memory of this process, in MiB
    proc.memory.percent       the same in percent of the machine's
    proc.memory.availableMB   free memory, in MiB
    memory_percent            used memory, in percent
    network.sent, .recv       bytes of the machine since the first reading
    """

    def __init__(self) -> None:
        with forking.running():  # a child that is forked in the middle of an import could not import it
            import psutil  # imported when first needed: a thread loads it

        self._psutil = psutil
        self._process = psutil.Process()
        self._processors = machine.cpu_count() or 1
        self._network = (0, 0)
        with suppress(Exception):
            self._network = self._traffic()
        self._process.cpu_percent()  # both are relative to the call before
        psutil.cpu_percent()

    def __call__(self) -> Mapping[str, float]:
        """The present values; without those that this system does not have."""
        return _known(self._cpu, self._memory, self._traffic_since)

    def _cpu(self) -> Mapping[str, float]:
        return {
            "cpu": self._process.cpu_percent() / self._processors,
            "cpu_percent": self._psutil.cpu_percent(),
            "proc.cpu.threads": self._process.num_threads(),
        }

    def _memory(self) -> Mapping[str, float]:
        whole, own = self._psutil.virtual_memory(), self._process.memory_info().rss
        return {
            "proc.memory.rssMB": own / MB,
            "proc.memory.percent": 100 * own / whole.total,
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
