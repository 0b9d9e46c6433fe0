"""How much memory processes hold, as the kernel counts it (Linux)."""

from __future__ import annotations

from pathlib import Path

from tests.bench.results import NotMeasured


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in task.read_text().split())
            except OSError:  # the thread has ended
                continue
    return found


def held(pid: int) -> float:
    """Megabytes that a process and its descendants hold; what they share counts once."""
    return sum(_field(one, "smaps_rollup", "Pss") for one in tree(pid))


def resident(pid: int) -> float:
    """Megabytes of a process in memory now."""
    return _field(pid, "status", "VmRSS")


def peak(pid: int) -> float:
    """The most megabytes that a process held since `forget_peak`."""
    return _field(pid, "status", "VmHWM")


def forget_peak(pid: int) -> None:
    """Counts the peak from here on."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError as error:
        raise NotMeasured(f"the kernel does not let the peak be reset: {error}") from error


def _field(pid: int, file: str, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError as error:
        raise NotMeasured(f"the memory of processes cannot be read: {error}") from error
    for line in lines:
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise NotMeasured(f"/proc/{pid}/{file} has no {name}")
