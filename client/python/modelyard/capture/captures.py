"""What a run records by itself: its console, its machine, and what its process writes for TensorBoard."""

from __future__ import annotations

import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from modelyard.capture.console import Console, Line
from modelyard.capture.saved_files import SavedFiles
from modelyard.capture.system_metrics import DEFAULT_SECONDS, SystemMetrics
from modelyard.capture.tensorboard import TensorBoardFollower
from modelyard.configuration.settings import Settings
from modelyard.host import forking
from modelyard.spool import records
from modelyard.spool.writer import SpoolWriter

RECORD_CHARACTERS = 64 << 10
"""About the most text in one record of lines."""
_PROCESS_CHARACTERS = 128


class Captures:
    """The parts that the settings leave on. None of them raises, or waits for a server.

    `log` takes rows of what is written for TensorBoard.
    """

    def __init__(
        self,
        settings: Settings,
        spool: SpoolWriter,
        folder: Path,
        log: Callable[[Mapping[str, float]], None],
        *,
        is_first: bool,
    ) -> None:
        """`is_first`: whether this process made the run, or is its only one."""
        self._spool = spool
        self._label = _label(settings, is_first=is_first)
        self._rows = 0
        self._records = 0
        self._in_child = False
        forking.inherit(self)
        self._console = None if settings.console == "off" else Console(self._keep, self._spool.lock.locked)
        self._tensorboard = TensorBoardFollower(log) if settings.sync_tensorboard else None
        self.files = SavedFiles(self._add_file)
        seconds = settings.x_stats_sampling_interval or DEFAULT_SECONDS
        self._system = (
            None
            if settings.x_disable_stats
            else SystemMetrics(self._add_row, folder, seconds=seconds, label=self._label)
        )

    def forget_parent(self) -> None:
        """In a forked child, which has a spool of its own."""
        self._records = 0
        self._in_child = True

    def start(self) -> None:
        """Records from now on."""
        for part in (self._console, self._system, self._tensorboard):
            if part is not None:
                part.start()

    def flush(self) -> None:
        """Records what has been written so far."""
        for part in (self._tensorboard, self._console):
            if part is not None:
                part.flush()

    def stop(self) -> None:
        """Records what is left, and ends."""
        self.files.stop()
        for part in (self._tensorboard, self._system, self._console):
            if part is not None:
                part.stop()

    def add_error(self, error: BaseException) -> None:
        """Adds an exception that ends the run to its console: Python prints it when the run has ended."""
        if self._console is not None and not isinstance(error, SystemExit):
            self._console.add("".join(traceback.format_exception(error)))

    def _add_file(self, path: str, source: str, now: bool) -> None:
        self._spool.change(records.FILE, {"path": path, "source": source, "now": now})

    def _add_row(self, points: Mapping[str, float]) -> None:
        content = {"number": self._rows, "time": time.time(), "points": dict(points)}
        self._spool.change(records.SYSTEM, content)
        self._rows += 1

    def _keep(self, lines: Sequence[Line]) -> None:
        for part in _parts(lines):
            self._records += 1
            content = {"number": self._records, "process": self._process(), "lines": part}
            self._spool.change(records.CONSOLE, content)

    def _process(self) -> str:
        name = f"{self._label} {_child()}".strip() if self._in_child else self._label
        return name[:_PROCESS_CHARACTERS]


def _child() -> str:
    """How this process is called, which was forked from one with a run."""
    multiprocessing = sys.modules.get("multiprocessing")
    name = multiprocessing.current_process().name if multiprocessing else "MainProcess"
    return f"process {os.getpid()}" if name == "MainProcess" else name


def _parts(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    begin = size = 0
    for index, line in enumerate(lines):
        if index > begin and size + len(line.text) > RECORD_CHARACTERS:
            yield lines[begin:index]
            begin, size = index, 0
        size += len(line.text)
    if lines:
        yield lines[begin:]


def _label(settings: Settings, *, is_first: bool) -> str:
    """How the process is called among those of its run; empty for the one that made it."""
    if settings.x_label or is_first:
        return settings.x_label or ""
    rank = os.environ.get("RANK", "")
    return f"rank {rank}" if rank else f"{platform.node()} {os.getpid()}"
