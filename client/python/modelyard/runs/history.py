"""The rows of a run, on their way to its spool. `log` is called in every training step and must be fast."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from modelyard.contract import limits, values
from modelyard.conversion.arrays import Rule, is_histogram, is_typed
from modelyard.conversion.plain_values import Unfit, fit
from modelyard.host import forking, terminal
from modelyard.media.run_folder import RunMedia
from modelyard.runs.definitions import Definitions
from modelyard.runs.summary import Definition, Summary
from modelyard.runs.summary_replay import built_in
from modelyard.spool.writer import SpoolWriter

_SMALL = limits.INT_MAX
_ALWAYS_FIT = frozenset({float, bool, type(None)})
_SCALARS = _ALWAYS_FIT | {int, str}


class History:
    """Rows of one writer; its steps never go down. Safe for threads.

    Rows go to the spool at once, those that are not complete too: a killed process
    loses nothing. Without a spool they change the summary only.
    """

    def __init__(
        self,
        first_step: int,
        summary: Summary,
        start_time: float,
        spool: SpoolWriter | None = None,
        media: RunMedia | None = None,
    ) -> None:
        self.lock = spool.lock if spool else forking.lock()
        self.rows_logged = 0
        self.points_dropped = 0
        self._step = first_step
        self._row: dict[str, Any] = {}
        self._row_time = 0.0  # when the last points of this row were logged
        self._names: set[str] = set()  # names that were checked
        self._paths: dict[str, tuple[str, ...]] = {}  # of the nested points of this row
        self._statistics: dict[str, Any] = {}  # what the summary has instead of the histograms of this row
        self._carried: dict[str, Any] = {}  # last values of step metrics
        self._summary = summary
        self._start_time = start_time
        summary.keep_media_with(self.without_media)
        self._spool = spool
        self._media = media or RunMedia()
        self._definitions = Definitions()
        forking.inherit(self)

    def forget_parent(self) -> None:
        """In a forked child: the row that is being collected is the parent's."""
        self._row, self._paths, self._statistics = {}, {}, {}

    @property
    def step(self) -> int:
        """The step of the next row."""
        return self._step

    def define(self, definition: Definition, *, overwrite: bool = True) -> Definition:
        """Applies a definition to rows from now on, and returns it.

        Without `overwrite`, what it does not say is as in the one before of the same name.
        """
        with self.lock:
            definition = self._definitions.add(definition, overwrite=overwrite)
        if self._spool is not None:
            self._spool.define(definition.name, dataclasses.asdict(definition))
        return definition

    def is_hidden(self, key: str) -> bool:
        """Whether the definition of a metric hides it."""
        definition = self._definitions.of(key) if self._definitions else None
        return bool(definition and definition.hidden)

    def log(self, data: Mapping[str, Any], step: Any = None, commit: bool | None = None) -> None:
        """Adds points to the row of `step`, and ends the row when `commit`; see `Run.log`.

        Values that cannot be stored are dropped with a warning.
        """
        if step is not None and type(step) is not int:
            step = _whole(step)
        data = self.without_media(data, step)
        with self.lock:
            if step is not None and not self._go_to(step):
                return
            names, row = self._names, dict[str, Any]()
            for key, value in data.items():
                kind = type(value)
                if key in names and (kind in _ALWAYS_FIT or (kind is int and -_SMALL <= value <= _SMALL)):
                    row[key] = value
                else:
                    self._add(row, key, value)
            if row:
                self._row_time = time.time()
            if commit or (commit is None and step is None):
                self._commit(row)
            elif row:
                self._collect(row, is_open=True)

    def without_media(self, data: Mapping[str, Any], step: int | None = None) -> Mapping[str, Any]:
        """The data with maps instead of media, whose files are written.

        It runs without the lock, since encoding takes long: the step in names of files is
        the one that the row has unless another thread logs a row at the same time.
        """
        if _SCALARS.issuperset(map(type, data.values())):
            return data
        from modelyard.media import logged

        if step is not None and not self._step <= step <= limits.MAX_STEP:
            return data  # which is dropped
        expected = self._step if step is None else step
        return logged.replaced(data, lambda key: self._media.row(key, expected), self._drop)

    def commit(self) -> None:
        """Ends the row that is collected, if any."""
        with self.lock:
            self._commit({})

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
            self._commit({}, marked=False)
            self._step = step
        return True

    def _add(self, row: dict[str, Any], key: str, value: Any) -> None:
        """Adds a point to a row; entries of a map become points of their own, with names joined by `.`."""
        pending: list[tuple[tuple[str, ...], Any, frozenset[int]]] = [((key,), value, frozenset())]
        for _ in range(limits.VALUE_ITEMS):
            if not pending:
                return
            path, inner, around = pending.pop()
            name = ".".join(path)
            point: Any = {} if id(inner) in around or is_typed(inner) else _entries(inner)
            if not point:
                try:
                    point = fit(inner, name, Rule.HISTOGRAM)
                except Unfit as error:
                    self._drop(name, str(error))
            if isinstance(point, dict) and not is_typed(point):
                around |= {id(inner)}
                pending += [((*path, part), item, around) for part, item in point.items()]
            elif self._may_be_named(name):
                row[name] = point
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

    def _collect(self, points: dict[str, Any], *, is_open: bool) -> None:
        """Adds points to the present row, and writes them to the spool."""
        if self._spool is not None:
            paths = {key: path for key, path in self._paths.items() if key in points} if self._paths else {}
            statistics = self._statistics_of(points) if self._statistics else {}
            try:
                self._spool.row(self._step, self._row_time, points, paths, statistics, is_open=is_open)
            except Exception as error:  # whatever the reason, training goes on
                self._drop(", ".join(points), f"{type(error).__name__}: {error}")
                return
        if self._row:
            self._row.update(points)
        else:
            self._row = points

    def _commit(self, more: dict[str, Any], *, marked: bool = True) -> None:
        """Ends the present row, with further points. Unmarked where one of a larger step follows at once."""
        if not (self._row or more):
            return
        if self._definitions:
            self._add_step_metrics(more)
        if more:
            self._collect(more, is_open=False)
        elif self._spool is not None:
            self._spool.end_row(marked=marked)
        row = self._row
        last = {**row, **self._statistics_of(row)} if self._statistics else row
        self._definitions.observe(self._summary, last, self._paths)
        self._summary.observe(built_in(self._step, self._row_time, self._start_time))
        self.rows_logged += 1
        self._row = {}
        self._step += 1
        if self._paths:
            self._paths = {}
        if self._statistics:
            self._statistics = {}

    def _statistics_of(self, points: Mapping[str, Any]) -> dict[str, Any]:
        """What the summary has instead of the histograms among these points."""
        return {key: found for key, found in self._statistics.items() if is_histogram(points.get(key))}

    def _add_step_metrics(self, more: dict[str, Any]) -> None:
        """Adds the last value of a metric's step metric to rows that lack it."""
        for key in [*self._row, *more]:
            definition = self._definitions.of(key)
            carried = definition.carried if definition else None
            if carried is None or carried in self._row or carried in more or carried.startswith("_"):
                continue  # `_step` and others like it are in every row already
            last = self._carried.get(carried, self._summary.last_of(carried))
            if last is not None:
                more[carried] = last
        for key in self._definitions.step_metrics:
            if key in more or key in self._row:
                self._carried[key] = more.get(key, self._row.get(key))


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
