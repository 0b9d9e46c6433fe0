"""The rows of a run until the sender takes them. `log` is called in every training step: it only appends."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from modelyard import terminal
from modelyard.plain import PLAIN, plain
from modelyard.run_summary import Definition, Summary

WAKE_ROWS = 10_000
"""With so many rows waiting the sender does not wait for its next turn."""
FULL_ROWS = 2_000_000
"""With so many, each further `log` waits a moment, so that memory does not fill."""
_FULL_PAUSE_SECONDS = 0.05


class Row(NamedTuple):
    """A row: its step, when it was logged (seconds since 1970) and its points."""

    step: int
    timestamp: float
    points: dict[str, Any]


class Taken(NamedTuple):
    """What the sender takes at once; `removed` are summary keys."""

    rows: list[Row]
    summary: dict[str, Any]
    removed: list[str]


class History:
    """Rows of one writer; its steps never go down. Safe for threads."""

    def __init__(self, first_step: int, summary: Summary, start_time: float) -> None:
        self.lock = threading.Lock()
        self.wake = threading.Event()
        self.rows_logged = 0
        self._step = first_step
        self._row: dict[str, Any] = {}
        self._paths: dict[str, tuple[str, ...]] = {}  # of the points of this row that were nested
        self._rows: list[Row] = []
        self._summary = summary
        self._start_time = start_time
        self._definitions: list[Definition] = []
        self._defined: dict[str, Definition | None] = {}

    @property
    def step(self) -> int:
        """The step of the next row."""
        return self._step

    def define(self, definition: Definition) -> None:
        """Applies a definition to rows from now on; a later one for the same name replaces it."""
        with self.lock:
            self._definitions = [one for one in self._definitions if one.name != definition.name]
            self._definitions.append(definition)
            self._defined.clear()

    def log(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Adds points to the row of `step`, and ends the row when `commit`; see `Run.log`."""
        with self.lock:
            if step is not None and not self._go_to(step):
                return
            row = self._row
            for key, value in data.items():
                if type(value) in PLAIN and type(value) is not int:
                    row[key] = value
                else:
                    self._add(key, plain(value))
            if commit or (commit is None and step is None):
                self._commit()
            waiting = len(self._rows)
        if waiting >= WAKE_ROWS:
            self.wake.set()
            if waiting >= FULL_ROWS:
                time.sleep(_FULL_PAUSE_SECONDS)

    def commit(self) -> None:
        """Ends the row that is collected, if any."""
        with self.lock:
            self._commit()

    def take(self) -> Taken:
        """The rows and changes of the summary since the last time."""
        with self.lock:
            rows, self._rows = self._rows, []
            return Taken(rows, *self._summary.take_changed())

    def _go_to(self, step: int) -> bool:
        if step < self._step:
            terminal.termwarn(
                f"step {step} is below the current step {self._step}: its values are dropped. "
                "Steps of a run only go up",
                repeat=False,
            )
            return False
        if step > self._step:
            self._commit()
            self._step = step
        return True

    def _add(self, key: str, value: Any) -> None:
        """Adds a point; the entries of a map become points of their own, with names joined by `.`."""
        if not isinstance(value, dict):
            self._row[key] = value
            return
        pending: list[tuple[tuple[str, ...], Any]] = [((key,), value)]
        while pending:
            path, inner = pending.pop()
            if isinstance(inner, dict):
                pending += [((*path, name), item) for name, item in inner.items()]
            else:
                name = ".".join(path)
                self._row[name] = inner
                self._paths[name] = path

    def _commit(self) -> None:
        row = self._row
        if not row:
            return
        now = time.time()
        if self._definitions:
            self._follow_step_metrics(row)
        if self._definitions or self._paths:
            for key, value in row.items():
                self._summary.observe_defined(key, self._paths.get(key, (key,)), value, self._definition(key))
        else:
            self._summary.observe(row)
        facts = {"_step": self._step, "_timestamp": now, "_runtime": now - self._start_time}
        self._summary.observe(facts)
        self._rows.append(Row(self._step, now, row))
        self.rows_logged += 1
        self._row = {}
        self._step += 1
        if self._paths:
            self._paths = {}

    def _definition(self, key: str) -> Definition | None:
        if key not in self._defined:
            exact = [one for one in self._definitions if one.covers(key) and not one.name.endswith("*")]
            prefixed = [one for one in self._definitions if one.covers(key) and one.name.endswith("*")]
            self._defined[key] = next(iter(exact + sorted(prefixed, key=lambda one: -len(one.name))), None)
        return self._defined[key]

    def _follow_step_metrics(self, row: dict[str, Any]) -> None:
        """A metric that is drawn over another one needs that one's value in its row."""
        for key in list(row):
            definition = self._definition(key)
            if definition and definition.step_metric and definition.step_sync:
                last = self._summary.get(definition.step_metric)
                if definition.step_metric not in row and last is not None and not isinstance(last, dict):
                    row[definition.step_metric] = last
