"""Messages for users, on stderr with the prefix `modelyard`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any

from modelyard.contract import streams
from modelyard.host import forking

_BARS = "▁▂▃▄▅▆▇█"
_TRUE = {"1", "true", "yes", "on"}
_lock = forking.lock()
_said: set[str] = set()
_warned: set[str] = set()
_silent: bool | None = None


def silence(silent: bool | None) -> None:
    """Silences all lines; with None MODELYARD_SILENT decides."""
    global _silent
    _silent = silent


def is_silent() -> bool:
    """Whether lines are silenced."""
    if _silent is not None:
        return _silent
    return os.environ.get("MODELYARD_SILENT", "").lower() in _TRUE


def termlog(text: str = "", newline: bool = True, repeat: bool = True) -> None:
    """Prints `text` on stderr; with `repeat=False` the same text only once in a process."""
    _write("", text, newline, repeat)


def termwarn(text: str, newline: bool = True, repeat: bool = True) -> None:
    """Prints a warning on stderr; with `repeat=False` the same text only once in a process."""
    _write("WARNING ", text, newline, repeat)


def warn_once(about: str, text: str) -> None:
    """Prints a warning on stderr, once in a run for each `about`, even if the text differs."""
    with _lock:
        if about in _warned:
            return
        _warned.add(about)
    termwarn(text)


def new_run() -> None:
    """Resets `warn_once`."""
    with _lock:
        _warned.clear()


def termerror(text: str, newline: bool = True, repeat: bool = True) -> None:
    """Prints an error on stderr; with `repeat=False` the same text only once in a process."""
    _write("ERROR ", text, newline, repeat)


def _write(kind: str, text: str, newline: bool, repeat: bool) -> None:
    if is_silent():
        return
    with _lock:
        if not repeat:
            if text in _said:
                return
            _said.add(text)
        lines = "\n".join(f"modelyard: {kind}{line}" for line in text.split("\n"))
        # Neither a closed terminal nor a stream of the program's own that fails may end the training, or
        # a thread that has to go on.
        with suppress(Exception):
            streams.write(sys.stderr, lines + ("\n" if newline else ""))


def is_terminal(stream: Any) -> bool:
    """Whether a stream exists, is open and is a terminal."""
    try:
        return stream is not None and bool(stream.isatty())
    except (OSError, ValueError, AttributeError):
        return False


class LossyStream:
    """A stream for libraries that write by themselves: what cannot be written is dropped."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes what the stream takes."""
        with suppress(Exception):
            streams.write(self._stream, text)
        return len(text)

    def flush(self) -> None:
        """Does nothing: every write is flushed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def sparkline(points: Iterable[float], width: int = 40) -> str:
    """At most `width` bars from the lowest to the highest of the finite points.

    A bar stands for several points where there are more: for the one farthest from the mean,
    so that a peak stays visible.
    """
    finite = [point for point in points if point - point == 0]
    if not finite:
        return ""
    if len(finite) > width:
        mean = sum(point / len(finite) for point in finite)
        ends = [index * len(finite) // width for index in range(width + 1)]
        parts = [finite[start:end] for start, end in pairwise(ends)]
        finite = [max(part, key=lambda point: abs(point / 2 - mean / 2)) for part in parts]
    low, high = min(finite), max(finite)
    # Halved first: the difference of two very large numbers may overflow.
    span = high / 2 - low / 2
    if span <= 0:
        return _BARS[0] * len(finite)
    top = len(_BARS) - 1
    return "".join(_BARS[round((point / 2 - low / 2) / span * top)] for point in finite)


def human_bytes(size: int) -> str:
    """A size for people: `812 B`, `3.4 MiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def is_address(text: str) -> bool:
    """Whether a text is an address that browsers open."""
    return text.startswith(("https://", "http://"))


def plural(count: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
