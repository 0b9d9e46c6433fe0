"""Which `define_metric` applies to a metric, and what rows make of the summary by that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.runs.summary import Definition, Summary


class Definitions:
    """The definitions of a run; the one of a metric itself goes before those with a prefix."""

    def __init__(self) -> None:
        self._all: list[Definition] = []
        self._of: dict[str, Definition | None] = {}
        self.step_metrics: set[str] = set()
        """The metrics whose last values are added to rows that lack them."""

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, definition: Definition, *, overwrite: bool = True) -> Definition:
        """Adds one; it replaces an earlier one for the same name. Returns it.

        Without `overwrite`, what it does not say is as in the earlier one.
        """
        for one in self._all:
            if one.name == definition.name and not overwrite:
                definition = definition.after(one)
        self._all = [one for one in self._all if one.name != definition.name]
        self._all.append(definition)
        self._of.clear()
        self.step_metrics = {one.carried for one in self._all if one.carried}
        return definition

    def of(self, key: str) -> Definition | None:
        """The one that applies to a metric: of several prefixes the longest."""
        if key not in self._of:
            exact = [one for one in self._all if one.covers(key) and not one.name.endswith("*")]
            prefixed = [one for one in self._all if one.covers(key) and one.name.endswith("*")]
            self._of[key] = next(iter(exact + sorted(prefixed, key=lambda one: -len(one.name))), None)
        return self._of[key]

    def observe(
        self, summary: Summary, points: Mapping[str, Any], paths: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Sets the points of a row in the summary. `paths` has those that were logged in nested maps."""
        if self._all or paths:
            for key, value in points.items():
                summary.observe_defined(key, paths.get(key, (key,)), value, self.of(key))
        else:
            summary.observe(points)
