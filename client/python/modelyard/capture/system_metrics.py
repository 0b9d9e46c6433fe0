"""The thread that records the machine of a run: processors, memory, disk, network, graphics processors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from modelyard.capture.gpu_readings import GpuReadings
from modelyard.capture.machine_readings import DiskReadings, MachineReadings, ProcessReadings

FIRST_SECONDS = 1.0
"""When the first row is taken, so that short runs have one too."""
DEFAULT_SECONDS = 15.0
"""Time between two rows."""
LEAST_SECONDS = 0.1
ANSWER_SECONDS = 1.0
"""How long a row waits for each reading."""
FAILURES = 3
"""Errors in a row after which a reading is given up."""

Read = Callable[[], Mapping[str, float]]

_log = logging.getLogger(__name__)


class SystemMetrics(threading.Thread):
    """Passes a row of readings to `send` every `seconds`, with names as in W&B's system panel.

    `label` is the process, where several log to one run; names then end in `/l:<label>`.
    No error ends the thread, and a reading that hangs is left out of the rows.
    """

    def __init__(
        self,
        send: Callable[[Mapping[str, float]], None],
        folder: Path,
        *,
        seconds: float = DEFAULT_SECONDS,
        label: str = "",
        of_machine: bool = True,
    ) -> None:
        """`of_machine`: False where another process of the run records the machine, and this one itself."""
        super().__init__(name="modelyard-system", daemon=True)
        self._send = send
        self._folder = folder
        self._seconds = max(seconds, LEAST_SECONDS)
        self._ending = f"/l:{label}" if label else ""
        self._of_machine = of_machine
        self._stopped = threading.Event()

    def run(self) -> None:
        """Takes rows until `stop`."""
        readings = [_Reading(ProcessReadings)]
        if self._of_machine:
            readings = [
                _Reading(GpuReadings),
                _Reading(lambda: DiskReadings(self._folder)),
                _Reading(MachineReadings),
                *readings,
            ]
        for reading in readings:
            reading.start()
        wait = min(FIRST_SECONDS, self._seconds)
        while not self._stopped.wait(wait):
            wait = self._seconds
            row: dict[str, float] = {}
            for reading in readings:
                row |= reading.take(ANSWER_SECONDS)
            if row and not self._stopped.is_set():
                self._pass_on({f"system.{name}{self._ending}": value for name, value in row.items()})

    def stop(self) -> None:
        """Ends the thread; does not wait for it."""
        self._stopped.set()

    def _pass_on(self, row: Mapping[str, float]) -> None:
        try:
            self._send(row)
        except Exception:  # a defect of this code must not end the thread
            _log.info("a row of system metrics was not kept", exc_info=True)


class _Reading:
    """One kind of readings, each taken by a thread of its own.

    A network disk or a driver may hang for hours. Then no further thread is started,
    and nothing waits for the one that hangs.
    """

    def __init__(self, open: Callable[[], Read]) -> None:
        self._open = open
        self._read: Read | None = None
        self._result: Mapping[str, float] = {}
        self._failures = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Opens what is read."""
        self._begin()

    def take(self, seconds: float) -> Mapping[str, float]:
        """The present values; empty where they are not there in time."""
        if self._thread is not None and self._thread.is_alive():
            return {}
        if self._failures >= FAILURES:
            return {}
        self._begin()
        assert self._thread is not None
        self._thread.join(seconds)
        return {} if self._thread.is_alive() else self._result

    def _begin(self) -> None:
        self._result = {}
        self._thread = threading.Thread(target=self._work, name="modelyard-reading", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            if self._read is None:
                self._read = self._open()
            else:
                self._result = self._read()
            self._failures = 0
        except Exception:  # drivers and systems fail in many ways; training goes on without these values
            self._failures += 1
            _log.debug("system metrics", exc_info=True)
