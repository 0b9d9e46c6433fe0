"""What the summary of a run becomes by the rows and changes in its spools: an interface.

`runs` implements it by the class that the program itself sees, so that both agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from modelyard.spool.rows import Row


class SummaryReplay(Protocol):
    """Follows the rows and changes of a run in the order in which they were logged."""

    def observe(self, rows: Sequence[Row]) -> None:
        """Takes rows."""

    def define(self, content: Mapping[str, Any]) -> None:
        """Takes the arguments of `define_metric`."""

    def change(self, entries: Mapping[str, Any], removed: Sequence[str]) -> None:
        """Takes what the program set and removed."""

    def take_changed(self) -> tuple[dict[str, Any], list[str]]:
        """The entries that changed since the last time, and the names that were removed."""

    def state(self) -> dict[str, Any]:
        """What later rows build on, such as minima: as JSON can hold it."""
