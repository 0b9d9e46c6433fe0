"""The last lines of a run: a curve for each metric, the summary, and how to see more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelyard.contract.limits import VALUE_DEPTH
from modelyard.host import notebook
from modelyard.host.terminal import is_address, plural, sparkline

_SHOWN = 20
_VALUE_WIDTH = 40


def closing_lines(
    name: str,
    url: str | None,
    curves: Mapping[str, Sequence[float]],
    summary: Mapping[str, Any],
    counts: Sequence[tuple[int, str]],
    exit_code: int = 0,
    unchanged: int = 0,
) -> Iterator[str]:
    """The lines that `finish` prints. `counts` are of new items; `unchanged` versions existed already.

    `url` None: the run is in a folder, and no server has it yet.
    """
    drawn = {key: sparkline(points) for key, points in sorted(curves.items()) if len(points) > 1}
    last = _texts(summary)
    width = max(map(len, [*list(drawn)[:_SHOWN], *list(last)[:_SHOWN]]), default=0)
    yield from _block("Run history:", drawn, width)
    yield from _block("Run summary:", last, width)
    if exit_code:
        yield f"Run {name} failed with exit code {exit_code}."
    if url is not None:
        yield view_line(url, f"run {name}")
    yield f"{'Kept' if url is None else 'Synced'} {_synced(counts, unchanged)}"


def view_line(url: str, what: str = "run") -> str:
    """The line that says where something is shown: an address, or a command."""
    return f"View {what} at: {url}" if is_address(url) else f"View {what}: {url}"


def closing_card(
    name: str,
    url: str,
    curves: Mapping[str, Sequence[float]],
    summary: Mapping[str, Any],
    counts: Sequence[tuple[int, str]],
    exit_code: int = 0,
    unchanged: int = 0,
) -> str:
    """What notebooks show instead of `closing_lines`."""
    title = f"Run {name} " + (f"failed with exit code {exit_code}" if exit_code else "is finished")
    drawn = {key: sparkline(points) for key, points in sorted(curves.items()) if len(points) > 1}
    shown = _texts(summary)
    rows = {key: f"{drawn.get(key, '')} {text}".strip() for key, text in list(shown.items())[:_SHOWN]}
    if len(shown) > _SHOWN:
        rows["…"] = f"and {len(shown) - _SHOWN} more"
    rows["Synced"] = _synced(counts, unchanged)
    return notebook.card(title, rows, shown_by=url)


def run_card(
    title: str, path: str, state: str, config: Mapping[str, Any], summary: Mapping[str, Any], url: str | None
) -> str:
    """A run as notebooks show it."""
    rows = {"Path": path, "State": state}
    for name, entries in (("Config", config), ("Summary", summary)):
        texts = _texts(entries)
        more = ", …" if len(texts) > _SHOWN else ""
        rows[name] = ", ".join(f"{key} = {text}" for key, text in list(texts.items())[:_SHOWN]) + more
    return notebook.card(title, rows, shown_by=url or "")


def _texts(entries: Mapping[str, Any]) -> dict[str, str]:
    """Entries as short texts, by name, without built-in ones."""
    return {
        key: short_text(value) for key, value in sorted(flattened(entries).items()) if not key.startswith("_")
    }


def _synced(counts: Sequence[tuple[int, str]], unchanged: int) -> str:
    rest = f"; {plural(unchanged, 'version')} unchanged" if unchanged else ""
    return ", ".join(plural(count, noun) for count, noun in counts) + rest


def flattened(
    entries: Mapping[str, Any], prefix: str = "", around: frozenset[int] = frozenset()
) -> dict[str, Any]:
    """Entries, with the names of nested ones joined by `.`; a map that contains itself is its text there.

    Media and histograms are one text each.
    """
    found: dict[str, Any] = {}
    around |= {id(entries)}
    for key, value in entries.items():
        name = f"{prefix}{key}"
        if not isinstance(value, Mapping) or not value:
            found[name] = value
        elif media := _media_text(value):
            found[name] = media
        elif id(value) in around or len(around) > VALUE_DEPTH:
            found[name] = _text(value)
        else:
            found |= flattened(value, f"{name}.", around)
    return found


def _media_text(stored: Mapping[str, Any]) -> str:
    """What a map that stands for media or a histogram is; empty for other maps."""
    kind = stored.get("_type")
    if not isinstance(kind, str):
        return ""
    if "bins" in stored:
        return f"{kind} of {len(stored['bins']) - 1} bins"
    if "count" in stored:
        return f"{stored['count']} {kind}"
    if "path" not in stored:
        return ""
    if "nrows" in stored:
        return f"{kind}, {plural(stored['nrows'], 'row')}"
    return f"{kind}, {stored['width']} × {stored.get('height')} pixels" if "width" in stored else kind


def short_text(value: Any) -> str:
    """A value as a short text."""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, Mapping):
        text = ", ".join(f"{key}={short_text(item)}" for key, item in flattened(value).items()) or "{}"
    else:
        text = _text(value).replace("\n", " ")
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # an object whose own code fails
        return type(value).__name__


def _block(title: str, entries: Mapping[str, str], width: int) -> Iterator[str]:
    if not entries:
        return
    yield title
    for key, text in list(entries.items())[:_SHOWN]:
        yield f"  {key:<{width}}  {text}"
    if len(entries) > _SHOWN:
        yield f"  … and {len(entries) - _SHOWN} more"
