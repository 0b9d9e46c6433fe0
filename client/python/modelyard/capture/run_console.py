"""The console of a run: by redirected descriptors or by what Python writes; and that of its workers."""

from __future__ import annotations

from pathlib import Path

from modelyard.capture.console import Console
from modelyard.capture.console_records import ConsoleRecords
from modelyard.capture.console_redirection import Redirection
from modelyard.capture.console_streams import NAMES
from modelyard.host import terminal
from modelyard.spool.writer import SpoolWriter

_kept: dict[Path, object] = {}
"""What keeps the console of this process, by the folder of the spools."""


class RunConsole:
    """Keeps the console of the process that has a run. Raises nothing, and waits for no server."""

    def __init__(self, spool: SpoolWriter, label: str, *, redirected: bool) -> None:
        """`label`: the process among those of its run. `redirected`: what other programs write is kept."""
        self._folder = spool.folder.parent
        self._console = Console(ConsoleRecords(spool, label).keep, spool.lock.locked)
        self._redirection = Redirection(self._folder, label, self._lost) if redirected else None

    def start(self) -> None:
        """Keeps what is written from now on."""
        _kept[self._folder] = self
        heard: frozenset[str] = frozenset()
        if self._redirection is not None and self._redirection.start():
            heard = self._redirection.heard
        self._console.start([name for name in NAMES if name not in heard])

    def flush(self) -> None:
        """Writes the lines so far."""
        self._console.flush()
        if self._redirection is not None:
            self._redirection.flush()

    def stop(self) -> None:
        """Writes the last lines, and leaves the streams as they were."""
        if self._redirection is not None:
            self._redirection.stop()
        self._console.stop()
        _kept.pop(self._folder, None)

    def add(self, text: str) -> None:
        """Keeps a text that is not written to the console."""
        self._console.add(text)

    def _lost(self) -> None:
        assert self._redirection is not None
        self._console.listen(self._redirection.heard)
        terminal.termwarn(
            "the process that kept the console has ended early: from now on what Python writes is kept",
            repeat=False,
        )


def keep_in_worker(folder: Path, label: str) -> None:
    """Keeps what Python code of this process writes, which another process has given its run.

    `folder` is that of the spools. It goes on until this process or its parent ends.
    """
    if folder not in _kept:  # else forked from a process that keeps it, or given the run before
        spool = SpoolWriter(folder)
        console = Console(ConsoleRecords(spool, label, in_child=True).keep, spool.lock.locked)
        _kept[folder] = console
        console.start_in_child()
