"""The last lines of a run: a curve for each metric, the summary, and how to see more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelyard.terminal import plural, sparkline

_SHOWN = 20
_VALUE_WIDTH = 40


def closing_lines(
    name: str,
    path: str,
    curves: Mapping[str, Sequence[float]],
    summary: Mapping[str, Any],
    counts: Sequence[tuple[int, str]],
    exit_code: int = 0,
) -> Iterator[str]:
    """What `finish` prints. `counts` are numbers and what they count."""
    drawn = {key: sparkline(points) for key, points in sorted(curves.items()) if len(points) > 1}
    last = {key: shown(value) for key, value in sorted(summary.items()) if not key.startswith("_")}
    width = max(map(len, [*list(drawn)[:_SHOWN], *list(last)[:_SHOWN]]), default=0)
    yield from _block("Run history:", drawn, width)
    yield from _block("Run summary:", last, width)
    if exit_code:
        yield f"Run {name} failed with exit code {exit_code}."
    yield f"View run {name}: modelyard show {path}"
    yield "Synced " + ", ".join(plural(count, noun) for count, noun in counts)


def shown(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}={shown(item)}" for key, item in value.items())[:_VALUE_WIDTH]
    text = str(value).replace("\n", " ")
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"


def _block(title: str, entries: Mapping[str, str], width: int) -> Iterator[str]:
    if not entries:
        return
    yield title
    for key, text in list(entries.items())[:_SHOWN]:
        yield f"  {key:<{width}}  {text}"
    if len(entries) > _SHOWN:
        yield f"  … and {len(entries) - _SHOWN} more"
