"""What was measured, against what was aimed for, and how it is shown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["times", "at_most", "value"]
_HEAD = ("#", "what", "ours", "beside", "ratio", "at least", "aim", "reached")


class NotMeasured(Exception):
    """A part that a measurement needs is missing; the message says which and why."""


@dataclass(frozen=True)
class Bound:
    """What a figure has to reach.

    `times`: ours is at least `limit` times the peer's; `at_most`: at most `limit` of it;
    `value`: ours is at most `limit`, whatever the peer's.
    """

    kind: Kind
    limit: float

    def holds(self, ours: float, ratio: float | None) -> bool:
        """Whether the figures reach it; without a ratio, only a `value` can."""
        if self.kind == "value":
            return ours <= self.limit
        if ratio is None:
            return False
        return ratio >= self.limit if self.kind == "times" else ratio <= self.limit

    def words(self, unit: str) -> str:
        """For the table: `≥ 3×`, `≤ 1/8`, `≤ 300 MB`."""
        if self.kind == "times":
            return f"≥ {self.limit:g}×"
        if self.kind == "value":
            return f"≤ {self.limit:g} {unit}"
        whole = round(1 / self.limit)
        return (
            f"≤ 1/{whole}" if 2 < whole <= 20 and abs(1 / whole - self.limit) < 1e-9 else f"≤ {self.limit:g}×"
        )


@dataclass(frozen=True)
class Target:
    """One line of the table: a figure of ours beside a figure of `peer`, both in `unit`."""

    number: str
    what: str
    unit: str
    peer: str
    at_least: Bound
    aim: Bound


@dataclass(frozen=True)
class Row:
    """The samples for a target, or the reason why there are none. Those of the peer may be missing."""

    target: Target
    ours: Sequence[float] = ()
    peer: Sequence[float] = ()
    reason: str = ""
    failed: bool = False

    @property
    def ratio(self) -> float | None:
        """Median of ours over median of the peer's, if it has any."""
        if not self.peer:
            return None
        return statistics.median(self.ours) / statistics.median(self.peer)

    @property
    def reached(self) -> str:
        """`aim`, `yes` (at least), `no`, or `–` where the peer is missing that tells."""
        if not self.peer and self.target.at_least.kind != "value":
            return "–"
        ours = statistics.median(self.ours)
        if self.target.aim.holds(ours, self.ratio):
            return "aim"
        return "yes" if self.target.at_least.holds(ours, self.ratio) else "no"

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        target = self.target
        bounds = target.at_least.words(target.unit), target.aim.words(target.unit)
        if self.reason:
            what = "failed" if self.failed else "not measured"
            return (target.number, target.what, f"{what}: {self.reason}", "", "", *bounds, "–")
        ours, peer = (_figure(statistics.median(side)) if side else "–" for side in (self.ours, self.peer))
        ratio = "–" if self.ratio is None else f"{_figure(self.ratio)}×"
        beside = f"{peer} ({target.peer})"
        return (target.number, target.what, f"{ours} {target.unit}", beside, ratio, *bounds, self.reached)

    def plain(self) -> dict[str, Any]:
        """Everything, for JSON."""
        target = self.target
        facts: dict[str, Any] = {
            "number": target.number,
            "what": target.what,
            "unit": target.unit,
            "peer": target.peer,
            "at_least": target.at_least.words(target.unit),
            "aim": target.aim.words(target.unit),
        }
        if self.reason:
            return facts | {"reason": self.reason, "failed": self.failed}
        sides = {"ours": list(self.ours), "beside": list(self.peer)}
        return facts | sides | {"ratio": self.ratio, "reached": self.reached}


def _figure(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """All rows, in columns."""
    lines = [_HEAD, *(row.cells() for row in rows)]
    # A sentence that takes the place of figures does not widen their column.
    widths = [
        max(len(line[column]) for line in lines if column != 2 or line[3] or line is _HEAD)
        for column in range(len(_HEAD))
    ]
    shown = [_line(line, widths) for line in lines]
    shown.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(shown)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    if not cells[3]:
        return f"{cells[0]:<{widths[0]}}  {cells[1]:<{widths[1]}}  {cells[2]}"
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def as_json(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """All samples, with what is known about the run."""
    return json.dumps(facts | {"rows": [row.plain() for row in rows]}, indent=2, ensure_ascii=False) + "\n"
