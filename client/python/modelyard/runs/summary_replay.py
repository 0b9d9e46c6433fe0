"""The summary of a run as its rows and changes make it, for what is sent of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.runs.definitions import Definitions
from modelyard.runs.summary import Definition, Summary
from modelyard.spool.rows import Row


class ReplayedSummary:
    """Implements `sync.summary.SummaryReplay` by the class that the program sees as `run.summary`.

    `items` are the entries that the server has, `state` what `state` returned before.
    """

    def __init__(
        self, items: Mapping[str, Any], start_time: float, state: Mapping[str, Any] | None = None
    ) -> None:
        self._summary = Summary(items)
        self._summary.go_on_from(state or {})
        self._definitions = Definitions()
        self._start_time = start_time

    def observe(self, rows: Sequence[Row]) -> None:
        """Takes rows."""
        for index, row in enumerate(rows):
            if index + 1 < len(rows) and rows[index + 1].keys is row.keys and not self._definitions:
                continue  # the next row replaces all of its entries
            self._definitions.observe(self._summary, {**row.points, **row.instead}, row.paths)
        if rows:
            self._summary.observe(built_in(rows[-1].step, rows[-1].timestamp, self._start_time))

    def define(self, content: Mapping[str, Any]) -> None:
        """Takes the arguments of `define_metric`."""
        self._definitions.add(Definition(**{**content, "kinds": tuple(content["kinds"])}))

    def change(self, entries: Mapping[str, Any], removed: Sequence[str]) -> None:
        """Takes what the program set and removed."""
        for key, value in entries.items():
            self._summary[key] = value
        for key in removed:
            self._summary.pop(key, None)

    def take_changed(self) -> tuple[dict[str, Any], list[str]]:
        """The entries that changed since the last time, and the names that were removed."""
        return self._summary.take_changed()

    def state(self) -> dict[str, Any]:
        """Minima and the like of the metrics that have definitions."""
        return self._summary.results()


def built_in(step: int, timestamp: float, start_time: float) -> dict[str, Any]:
    """The entries that every row has."""
    return {"_step": step, "_timestamp": timestamp, "_runtime": timestamp - start_time}
