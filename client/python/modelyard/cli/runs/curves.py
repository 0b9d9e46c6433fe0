"""Curves of metrics: the points to draw, and the lines that show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard.host.terminal import sparkline
from modelyard.public_runs import series
from modelyard.public_runs.public_run import PublicRun
from modelyard.rpc.metric_scan import AUTOMATIC
from modelyard.runs.report import flattened, short_text

_POINTS = 2_000
_NARROWEST = 8
_WIDEST = 40


@dataclass
class Curve:
    """The points of a metric. Of more than 2,000 every second one is kept; least, largest and last always."""

    points: list[float] = field(default_factory=list)
    least: float = float("inf")
    largest: float = float("-inf")
    last: Any = None

    def add(self, value: Any) -> None:
        """Adds the next point; texts and the like are only shown as the last value."""
        self.last = value
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        if value - value == 0:
            self.least, self.largest = min(self.least, value), max(self.largest, value)
            self.points.append(value)
        if len(self.points) > _POINTS:
            self.points = self.points[::2]


class Curves:
    """The curves of a run's metrics, by name."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = frozenset(keys)
        self.by_key: dict[str, Curve] = {}

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows, in the order of their steps."""
        for row in rows:
            for key, value in row.items():
                if key not in AUTOMATIC and self._wants(key):
                    self.by_key.setdefault(key, Curve()).add(value)

    def _wants(self, key: str) -> bool:
        return not self._keys or key in self._keys

    def load(self, run: PublicRun, most: int, *, system: bool = False) -> None:
        """Takes the metrics that the run has so far; curves of the first `most` by name."""
        connection, source = run._workspace.connection, run._source(system=system)
        found = [each for each in series.metrics(connection, source) if self._wants(each.key)]
        last = flattened(run.summary)
        self.by_key = {each.key: Curve(last=last.get(each.key)) for each in found}
        numbers = sorted(each.key for each in found if each.is_number)[:most]
        for each in series.curves(connection, source, numbers, _WIDEST):
            self.by_key[each.key] = Curve(each.points, each.least, each.largest, each.last)

    def lines(self, width: int, limit: int) -> list[str]:
        """A line for each of the first `limit` metrics, by name, and one that counts the rest."""
        shown = sorted(self.by_key.items())
        rest = len(shown) - limit
        if rest > 0:
            shown = shown[: max(0, limit - 1)]
        cells = [
            (key, curve, short_text(curve.last), _range(curve) if width >= 60 else "") for key, curve in shown
        ]
        names = max((len(key) for key, _, _, _ in cells), default=0)
        names = min(names, max(_NARROWEST, width // 3))
        values = max((len(last) for _, _, last, _ in cells), default=0)
        ranges = max((len(text) for _, _, _, text in cells), default=0)
        bars = max(0, min(_WIDEST, width - names - values - ranges - 6))
        lines = [
            f"{_cut(key, names):<{names}}  {sparkline(curve.points, bars) if bars > 1 else '':<{bars}}"
            f"  {last:>{values}}  {text}".rstrip()
            for key, curve, last, text in cells
        ]
        return [*lines, f"… and {len(self.by_key) - len(shown):,} more"] if rest > 0 else lines


def _range(curve: Curve) -> str:
    return f"{short_text(curve.least)} … {short_text(curve.largest)}" if len(curve.points) > 1 else ""


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
