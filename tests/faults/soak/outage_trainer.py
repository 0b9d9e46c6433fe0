"""`python -m tests.faults.soak.outage_trainer`: logs steadily, and says how long `run.log` took.

Reads the names of phases from standard input, one a line, the last one is `end`. Then
it finishes its run and prints one JSON object: the path of the run, the numbers of
rows, files and console lines, and for each phase the least, median, 99th percentile
and largest time of `run.log` in microseconds, and the resident memory in KiB.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import modelyard

PAUSE_SECONDS = 0.004
ROWS_PER_FILE = 25
ROWS_PER_LINE = 10


class Phase:
    """What happened in a phase."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.began = self.peak = resident()

    def figures(self) -> dict[str, int]:
        """See the module."""
        ordered = sorted(self.times) or [0]
        return {
            "rows": len(self.times),
            "least_us": ordered[0] // 1000,
            "median_us": ordered[len(ordered) // 2] // 1000,
            "p99_us": ordered[len(ordered) * 99 // 100] // 1000,
            "largest_us": ordered[-1] // 1000,
            "resident_before_kib": self.began,
            "resident_peak_kib": self.peak,
        }


class Trainer:
    """Logs rows, small files and lines of the console until the phase is `end`."""

    def __init__(self) -> None:
        self.phase = "start"
        self.phases: dict[str, Phase] = {}
        self.rows = self.files = self.lines = 0
        self._now = 0.0

    def listen(self) -> None:
        """Takes the phases from standard input."""
        for line in sys.stdin:
            self.phase = line.strip()
        self.phase = "end"

    def train(self, run: Any) -> None:
        """One row every few milliseconds."""
        while (name := self.phase) != "end":
            phase = self.phases.get(name) or self.phases.setdefault(name, Phase())
            row = {f"metric_{number}": self.rows + number / 10 for number in range(10)}
            before = time.perf_counter_ns()
            run.log(row)
            phase.times.append(time.perf_counter_ns() - before)
            if self.rows % ROWS_PER_FILE == 0:
                self._save(run)
                phase.peak = max(phase.peak, resident())
            if self.rows % ROWS_PER_LINE == 0:
                print(f"line {self.lines}", file=sys.stderr)
                self.lines += 1
            self.rows += 1
            time.sleep(PAUSE_SECONDS)

    def _save(self, run: Any) -> None:
        Path("samples").mkdir(exist_ok=True)
        file = Path(f"samples/{self.files:06d}.txt")
        file.write_text(f"sample {self.files}\n" * 20)
        run.save(str(file), policy="now")
        self.files += 1


def resident() -> int:
    """The resident memory of this process in KiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> None:
    """See the module."""
    trainer = Trainer()
    run = modelyard.init(settings={"x_save_requirements": False})
    threading.Thread(target=trainer.listen, daemon=True).start()
    trainer.train(run)
    run.finish()
    counts = {"path": run.path, "rows": trainer.rows, "files": trainer.files, "lines": trainer.lines}
    print(json.dumps({**counts, "phases": {name: one.figures() for name, one in trainer.phases.items()}}))


if __name__ == "__main__":
    main()
