"""Progress of transfers, shown on a terminal or given to a caller's own display."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Never, Protocol

from modelyard.host import notebook, terminal

if TYPE_CHECKING:
    from tqdm import tqdm

SHOW_AFTER_SECONDS = 0.5
"""A transfer that is over sooner shows no bar."""
_REDRAW_SECONDS = 0.2


class Progress(Protocol):
    """A display of one transfer. Its methods are called from several threads."""

    def start(self, verb: str, total: int) -> None:
        """The transfer begins: `verb` is `upload` or `download`, `total` is in bytes."""

    def advance(self, done: int, already: int = 0) -> None:
        """`done` more bytes are complete; `already` of them needed no transfer."""

    def close(self) -> None:
        """The transfer has ended, successfully or not."""


class Silent:
    """Shows nothing."""

    def start(self, verb: str, total: int) -> None:
        """Shows nothing."""

    def advance(self, done: int, already: int = 0) -> None:
        """Shows nothing."""

    def close(self) -> None:
        """Shows nothing."""


SILENT = Silent()


class Bar:
    """A bar on stderr with the rate and the share that needed no transfer."""

    def __init__(self, *, show_after: float = SHOW_AFTER_SECONDS) -> None:
        self._show_after = show_after
        self._lock = threading.Lock()
        self._bar: tqdm[Never] | None = None
        self._total = 0
        self._already = 0
        self._share = 0

    def start(self, verb: str, total: int) -> None:
        """Creates the bar, which appears after `show_after` seconds."""
        from tqdm import tqdm

        self.close()  # an upload that expired starts again
        self._total, self._already, self._share = total, 0, 0
        self._bar = tqdm(
            total=total,
            desc=verb,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            delay=self._show_after,
            leave=False,
            file=terminal.LossyStream(sys.stderr),
        )

    def advance(self, done: int, already: int = 0) -> None:
        """Moves the bar."""
        with self._lock:
            if self._bar is None:
                return
            self._already += already
            share = 100 * self._already // self._total if self._total else 0
            if share != self._share:
                self._share = share
                self._bar.set_postfix_str(f"{share}% already there", refresh=False)
            self._bar.update(done)

    def refresh(self) -> None:
        """Redraws the bar."""
        with self._lock:
            if self._bar is not None:
                self._bar.refresh()

    def close(self) -> None:
        """Removes the bar."""
        with self._lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None


class NotebookBar:
    """A bar below the cell of a notebook, which disappears when the transfer has ended."""

    def __init__(self, *, show_after: float = SHOW_AFTER_SECONDS) -> None:
        self._show_after = show_after
        self._lock = threading.Lock()
        self._verb = ""
        self._total = self._done = self._already = 0
        self._next = 0.0
        self._handle: Any = None

    def start(self, verb: str, total: int) -> None:
        """Begins; the bar appears after `show_after` seconds."""
        with self._lock:
            self._verb, self._total, self._done, self._already = verb, total, 0, 0
            self._next = time.monotonic() + self._show_after

    def advance(self, done: int, already: int = 0) -> None:
        """Moves the bar, a few times a second."""
        with self._lock:
            self._done += done
            self._already += already
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + _REDRAW_SECONDS
            html = notebook.bar(self._verb, self._done, self._total, self._note())
            if self._handle is None:
                self._handle = notebook.show(html, updatable=True)
            else:
                notebook.replace(self._handle, html)

    def _note(self) -> str:
        share = 100 * self._already // self._total if self._total else 0
        sizes = f"{terminal.human_bytes(self._done)} of {terminal.human_bytes(self._total)}"
        return f"{sizes}, {share}% already there" if share else sizes

    def close(self) -> None:
        """Removes the bar."""
        with self._lock:
            if self._handle is not None:
                notebook.replace(self._handle, "")
                self._handle = None


def automatic() -> Progress:
    """A bar if stderr is a terminal or this is a notebook, unless output is silenced; else `SILENT`."""
    if terminal.is_silent():
        return SILENT
    if notebook.is_active():
        return NotebookBar()
    return Bar() if terminal.is_terminal(sys.stderr) else SILENT
