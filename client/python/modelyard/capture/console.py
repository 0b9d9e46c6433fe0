"""Keeps what a run writes to its console, as lines."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

from modelyard.capture import console_streams
from modelyard.capture.screen_lines import ScreenLines
from modelyard.host import forking, waiting

TURN_SECONDS = 1.0
"""How often lines are passed on; a progress bar is passed on once in that time."""
WAITING_CHARACTERS = 2 << 20
"""The most text that waits for the thread; of more, the oldest is left out."""
MOST_LINES = 10_000
"""The most lines that are passed on at once, the newest: a run keeps no more."""
CHILD_CHARACTERS = 16 << 20
"""The most text of a forked child. It may outlive the run, and then nobody sends what it wrote."""
STOP_SECONDS = 5.0
"""How long `stop` waits for a thread that is passing lines on."""
_LOCKED_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Line(NamedTuple):
    """A line of the console; see `ScreenLine`. A later one with the same number replaces it."""

    number: int
    time: float
    stream: str
    text: str


class Console:
    """Passes lines of stdout and stderr to `keep`, about once a second, from a thread.

    A write costs some microseconds more, and waits for nothing. In a child, which
    has no thread, the write that ends a line passes it on; its numbers begin at 1. It
    ends with its parent, or after 16 MiB.
    """

    def __init__(
        self, keep: Callable[[Sequence[Line]], None], is_busy: Callable[[], bool] = lambda: False
    ) -> None:
        """`is_busy`: whether `keep` would have to wait, perhaps for the thread that prints."""
        self._keep = keep
        self._is_busy = is_busy
        self._lock = forking.lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="modelyard-console", daemon=True)
        self._in_child = False
        self._left = self._parent = 0
        self._begin()
        forking.inherit(self)

    def _begin(self) -> None:
        self._holder = 0
        """The thread that passes lines on."""
        self._waiting: deque[tuple[str, float, str]] = deque()
        self._characters = 0
        numbers = itertools.count(1)
        self._screens = {name: ScreenLines(lambda: next(numbers)) for name in console_streams.NAMES}

    def start(self, streams: Collection[str] = console_streams.NAMES) -> None:
        """Keeps what is written to some streams from now on."""
        self.listen(streams)
        self._thread.start()

    def listen(self, streams: Collection[str]) -> None:
        """Keeps what is written to further streams."""
        if streams:
            console_streams.listen(self._heard, streams)

    def stop(self) -> None:
        """Passes on what is left, and leaves the streams as they were."""
        self._stopped.set()
        console_streams.leave(self._heard)
        waiting.join(self._thread, STOP_SECONDS)
        self.flush()

    def add(self, text: str, stream: str = "stderr") -> None:
        """Keeps a text that is not written to the console."""
        self._heard(stream, text)

    def flush(self) -> None:
        """Passes on what was written so far. Raises nothing."""
        if self._holder == threading.get_ident() or not self._lock.acquire(timeout=_LOCKED_SECONDS):
            return  # called by a signal handler in the middle of this
        try:
            self._holder = threading.get_ident()
            self._pass_on()
        except Exception:  # a defect of this code must not reach who prints
            _log.info("lines of the console were not kept", exc_info=True)
        finally:
            self._holder = 0
            self._lock.release()

    def start_in_child(self) -> None:
        """Keeps what is written from now on, without a thread, as in a forked child."""
        self.forget_parent()
        self.listen(console_streams.NAMES)

    def forget_parent(self) -> None:
        """In a forked child: what the parent has waiting is the parent's."""
        self._in_child = True
        self._left = CHILD_CHARACTERS
        self._parent = os.getppid()
        self._begin()

    def _heard(self, stream: str, text: str) -> None:
        self._waiting.append((stream, time.time(), text))
        self._characters += len(text)
        if self._characters > WAITING_CHARACTERS:
            self._drop_oldest()
        if self._in_child:
            self._heard_in_child(text)

    def _heard_in_child(self, text: str) -> None:
        self._left -= len(text)
        if self._left < 0 or os.getppid() != self._parent:
            console_streams.leave(self._heard)
        elif "\n" in text and not self._is_busy():
            self.flush()

    def _drop_oldest(self) -> None:
        # Two for each that comes: a flood costs each write the same, and what waits becomes less.
        with suppress(IndexError):  # the thread has taken them
            for _ in range(2):
                self._characters -= len(self._waiting.popleft()[2])

    def _work(self) -> None:
        while not self._stopped.wait(TURN_SECONDS):
            self.flush()

    def _pass_on(self) -> None:
        waiting = self._waiting
        while waiting:
            stream, moment, text = waiting.popleft()
            self._characters -= len(text)
            self._screens[stream].write(text, moment)
        lines = [
            Line(line.number, line.time, stream, line.text)
            for stream, screen in self._screens.items()
            for line in screen.take_changed()
        ]
        if lines:
            self._keep(sorted(lines)[-MOST_LINES:])
