"""The rows of a run until the sender takes them. `log` is called in every training step and must be fast."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from modelyard.contract import limits, values
from modelyard.conversion.arrays import Rule, is_histogram
from modelyard.conversion.plain_values import Unfit, fit
from modelyard.host import forking, terminal
from modelyard.runs.summary import Definition, Summary

WAKE_ROWS = 10_000
"""Number of waiting rows at which the sender is woken before its next turn."""
FULL_ROWS = 2_000_000
"""Number of waiting rows at which each `log` waits a moment, to bound memory."""
_FULL_PAUSE_SECONDS = 0.05
_SMALL = limits.INT_MAX
_ALWAYS_FIT = frozenset({float, bool, type(None)})


class Row(NamedTuple):
    """A row: its step, when it was logged (seconds since 1970) and its points."""

    step: int
    timestamp: float
    points: dict[str, Any]


class Taken(NamedTuple):
    """Rows and changes of the summary for the sender; `removed` are summary keys."""

    rows: list[Row]
    summary: dict[str, Any]
    removed: list[str]


class History:
    """Rows of one writer; its steps never go down. Safe for threads."""

    def __init__(self, first_step: int, summary: Summary, start_time: float) -> None:
        self.lock = forking.lock()
        self.wake = threading.Event()
        self.rows_logged = 0
        self.points_dropped = 0
        self._step = first_step
        self._row: dict[str, Any] = {}
        self._names: set[str] = set()  # names that were checked
        self._paths: dict[str, tuple[str, ...]] = {}  # of the nested points of this row
        self._statistics: dict[str, Any] = {}  # what the summary has instead of the histograms of this row
        self._rows: list[Row] = []
        self._summary = summary
        self._start_time = start_time
        self._definitions: list[Definition] = []
        self._defined: dict[str, Definition | None] = {}
        self._step_metrics: set[str] = set()
        self._carried: dict[str, Any] = {}  # last values of step metrics

    @property
    def step(self) -> int:
        """The step of the next row."""
        return self._step

    def define(self, definition: Definition, *, overwrite: bool = True) -> Definition:
        """Applies a definition to rows from now on, and returns it.

        Without `overwrite`, what it does not say is as in the one before of the same name.
        """
        with self.lock:
            for one in self._definitions:
                if one.name == definition.name and not overwrite:
                    definition = definition.after(one)
            self._definitions = [one for one in self._definitions if one.name != definition.name]
            self._definitions.append(definition)
            self._defined.clear()
            self._step_metrics = {one.carried for one in self._definitions if one.carried}
        return definition

    def is_hidden(self, key: str) -> bool:
        """Whether the definition of a metric hides it."""
        definition = self._definition(key) if self._definitions else None
        return bool(definition and definition.hidden)

    def log(self, data: Mapping[str, Any], step: Any = None, commit: bool | None = None) -> None:
        """Adds points to the row of `step`, and ends the row when `commit`; see `Run.log`.

        Values that cannot be stored are dropped with a warning.
        """
        if step is not None and type(step) is not int:
            step = _whole(step)
        with self.lock:
            if step is not None and not self._go_to(step):
                return
            row, names = self._row, self._names
            for key, value in data.items():
                kind = type(value)
                if key in names and (kind in _ALWAYS_FIT or (kind is int and -_SMALL <= value <= _SMALL)):
                    row[key] = value
                else:
                    self._add(key, value)
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
        if step > limits.MAX_STEP:
            terminal.warn_once(
                "step out of range", f"step {step} is larger than 2^53: its values are dropped"
            )
            return False
        if step > self._step:
            self._commit()
            self._step = step
        return True

    def _add(self, key: str, value: Any) -> None:
        """Adds a point; the entries of a map become points of their own, with names joined by `.`."""
        pending: list[tuple[tuple[str, ...], Any, frozenset[int]]] = [((key,), value, frozenset())]
        for _ in range(limits.VALUE_ITEMS):
            if not pending:
                return
            path, inner, around = pending.pop()
            name = ".".join(path)
            point: Any = {} if id(inner) in around or is_histogram(inner) else _entries(inner)
            if not point:
                try:
                    point = fit(inner, name, Rule.HISTOGRAM)
                except Unfit as error:
                    self._drop(name, str(error))
            if isinstance(point, dict) and not is_histogram(point):
                around |= {id(inner)}
                pending += [((*path, part), item, around) for part, item in point.items()]
            elif self._may_be_named(name):
                self._row[name] = point
                if len(path) > 1:
                    self._paths[name] = path
                if is_histogram(point):
                    self._statistics[name] = fit(inner, name, Rule.STATISTICS)
        if pending:
            self._drop(key, f"it has more than {limits.VALUE_ITEMS} entries")

    def _may_be_named(self, name: str) -> bool:
        if name in self._names:
            return True
        problem = values.check_metric_name(name)
        if problem:
            self._drop(name, f"the name {problem}")
            return False
        self._names.add(name)
        return True

    def _drop(self, name: str, problem: str) -> None:
        self.points_dropped += 1
        terminal.warn_once(
            f"metric {name}",
            f"values of the metric {name[:100]!r} cannot be stored and are dropped: {problem}",
        )

    def _commit(self) -> None:
        row = self._row
        if not row:
            return
        now = time.time()
        if self._definitions:
            self._follow_step_metrics(row)
            self._carried.update((key, row[key]) for key in self._step_metrics if key in row)
        last = row
        if self._statistics:
            last = row | {key: found for key, found in self._statistics.items() if is_histogram(row.get(key))}
        if self._definitions or self._paths:
            for key, value in last.items():
                self._summary.observe_defined(key, self._paths.get(key, (key,)), value, self._definition(key))
        else:
            self._summary.observe(last)
        built_in = {"_step": self._step, "_timestamp": now, "_runtime": now - self._start_time}
        self._summary.observe(built_in)
        self._rows.append(Row(self._step, now, row))
        self.rows_logged += 1
        self._row = {}
        self._step += 1
        if self._paths:
            self._paths = {}
        if self._statistics:
            self._statistics = {}

    def _definition(self, key: str) -> Definition | None:
        if key not in self._defined:
            exact = [one for one in self._definitions if one.covers(key) and not one.name.endswith("*")]
            prefixed = [one for one in self._definitions if one.covers(key) and one.name.endswith("*")]
            self._defined[key] = next(iter(exact + sorted(prefixed, key=lambda one: -len(one.name))), None)
        return self._defined[key]

    def _follow_step_metrics(self, row: dict[str, Any]) -> None:
        """Adds the last value of a metric's step metric to rows that lack it."""
        for key in list(row):
            definition = self._definition(key)
            carried = definition.carried if definition else None
            if carried is None or carried in row or carried.startswith("_"):
                continue  # `_step` and others like it are in every row already
            last = self._carried.get(carried, self._summary.last_of(carried))
            if last is not None:
                row[carried] = last


def _whole(step: Any) -> int | None:
    """A step as an integer, with a warning if that changes it; None, with a warning, for other types."""
    try:
        whole = int(step)
    except (TypeError, ValueError, OverflowError):
        terminal.warn_once(
            "step without number", f"step {step!r} is not a number: its values go to the next step"
        )
        return None
    if whole != step:
        terminal.warn_once(
            "step with fraction", f"step {step!r} is not a whole number: {whole} is used, and so for others"
        )
    return whole


def _entries(value: Any) -> dict[str, Any]:
    """The entries of a map; empty for other values, and for a map whose own code fails."""
    try:
        return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}
    except Exception:
        return {}
