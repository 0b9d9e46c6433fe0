"""Writes lines of the console to a spool, as records that name the process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from modelyard.capture.console import Line
from modelyard.host import forking
from modelyard.spool import records
from modelyard.spool.writer import SpoolWriter

RECORD_CHARACTERS = 64 << 10
"""About the most text in one record."""
_PROCESS_CHARACTERS = 128


class ConsoleRecords:
    """The records of one process; a forked child numbers its own, and names itself in them."""

    def __init__(self, spool: SpoolWriter, label: str, *, in_child: bool = False) -> None:
        """`label`: the process among those of its run. `in_child`: whether another process made the run."""
        self._spool = spool
        self._label = label
        self._in_child = in_child
        self._count = 0
        forking.inherit(self)

    def forget_parent(self) -> None:
        """In a forked child, which has a spool of its own."""
        self._count = 0
        self._in_child = True

    def keep(self, lines: Sequence[Line]) -> None:
        """Writes lines."""
        for part in _parts(lines):
            self._count += 1
            content = {"number": self._count, "process": self._process(), "lines": part}
            self._spool.change(records.CONSOLE, content)

    def _process(self) -> str:
        name = f"{self._label} {_child()}".strip() if self._in_child else self._label
        return name[:_PROCESS_CHARACTERS]


def _child() -> str:
    """The name of this process, which was forked or spawned by one with a run."""
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
