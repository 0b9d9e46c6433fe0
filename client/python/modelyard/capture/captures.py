"""What a run records by itself: its console, its machine, and what its process writes for TensorBoard."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from modelyard.capture import run_console
from modelyard.capture.run_console import RunConsole
from modelyard.capture.system_metrics import DEFAULT_SECONDS, SystemMetrics
from modelyard.capture.tensorboard import TensorBoardFollower
from modelyard.configuration.settings import Settings
from modelyard.spool import records
from modelyard.spool.writer import SpoolWriter


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
        self._rows = 0
        label = _label(settings, is_first=is_first)
        redirected = settings.console == "redirect"
        self._console = None if settings.console == "off" else RunConsole(spool, label, redirected=redirected)
        self._tensorboard = TensorBoardFollower(log) if settings.sync_tensorboard else None
        seconds = settings.x_stats_sampling_interval or DEFAULT_SECONDS
        of_machine = is_first or os.environ.get("LOCAL_RANK", "0") == "0"
        self._system = (
            None
            if settings.x_disable_stats
            else SystemMetrics(self._add_row, folder, seconds=seconds, label=label, of_machine=of_machine)
        )

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
        for part in (self._tensorboard, self._system, self._console):
            if part is not None:
                part.stop()

    def add_error(self, error: BaseException) -> None:
        """Adds an exception that ends the run to its console: Python prints it when the run has ended."""
        if self._console is not None and not isinstance(error, SystemExit):
            self._console.add("".join(traceback.format_exception(error)))

    def write(self, text: str) -> None:
        """Adds text to the console of the run, as if the program had written it."""
        if self._console is not None:
            self._console.add(text)

    def _add_row(self, points: Mapping[str, float]) -> None:
        content = {"number": self._rows, "time": time.time(), "points": dict(points)}
        self._spool.change(records.SYSTEM, content)
        self._rows += 1


def keep_console_of_worker(settings: Settings, folder: Path) -> None:
    """Keeps what this process writes, which was given a run with these settings by another one.

    `folder` is that of the spools. Redirected streams are heard by that process's relay.
    """
    if settings.console not in {"off", "redirect"}:
        run_console.keep_in_worker(folder, settings.x_label or "")


def _label(settings: Settings, *, is_first: bool) -> str:
    """How the process is called among those of its run; empty for the one that made it."""
    if settings.x_label or is_first:
        return settings.x_label or ""
    rank = os.environ.get("RANK", "")
    return f"rank {rank}" if rank else f"{platform.node()} {os.getpid()}"
