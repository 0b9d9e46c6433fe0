"""The process that copies redirected streams to where they went before, and keeps their lines for a run.

`console_redirection` starts this file as a script. It copies at once, and imports
modelyard beside that. It copies until every process has closed its end of the
streams, also after the run and the process that made it have ended; lines are kept
until then only if the run goes on.
"""

from __future__ import annotations

import codecs
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard.capture.console import Console
    from modelyard.spool.writer import SpoolWriter

FLUSH, END = b"F", b"E"
"""Requests: pass on the lines so far; pass on the last ones. Each is answered."""
KEPT, LOST = b"K", b"L"
"""Answers: whether lines are kept."""
READ_BYTES = 64 << 10
WAITING_BYTES = 1 << 20
"""More than a pipe or a terminal holds: what a request reads before it is answered."""
EARLY_BYTES = 2 << 20
"""The most that waits until modelyard is imported; of more, the oldest is left out."""
LOOK_SECONDS = 0.5
"""How often the size of a terminal is compared, and the parent where it cannot be polled."""


class Stream:
    """One redirected stream: what is read from `source` is written to `target`."""

    def __init__(self, name: str, source: int, target: int) -> None:
        self.name = name
        self.source = source
        self.is_open = True
        self._target = target
        self._is_terminal = os.isatty(source)
        self._size = b""
        os.set_blocking(source, False)

    def read(self) -> bytes | None:
        """Copies what is there and returns it: nothing (`b""`) at the end of the stream, None before."""
        try:
            data = os.read(self.source, READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:  # a terminal that nobody has open any more
            data = b""
        self.is_open = bool(data)
        view = memoryview(data)
        with suppress(OSError):  # a full disk, a reader that has gone: who prints goes on
            while view:
                try:
                    view = view[os.write(self._target, view) :]
                except BlockingIOError:  # another program has set it so
                    select.select([], [self._target], [])
        return data

    def follow_size(self) -> None:
        """Gives the terminal that programs see the size of the real one."""
        if self._is_terminal and (size := _window_size(self._target)) not in {self._size, b""}:
            self._size = size
            _set_window_size(self.source, size)

    @property
    def is_terminal(self) -> bool:
        """Whether its size is to be followed."""
        return self._is_terminal


class Lines:
    """The lines of the streams, written to a spool from a thread."""

    def __init__(self, folder: str, label: str, search_path: Sequence[str]) -> None:
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._early: list[tuple[str, str]] = []
        self._early_size = 0
        self._console: Console | None = None
        self._spool: SpoolWriter | None = None
        self._thread = threading.Thread(
            target=self._open, args=(folder, label, search_path), name="modelyard-lines", daemon=True
        )
        self._thread.start()

    def add(self, name: str, data: bytes) -> None:
        """Keeps what was written to a stream."""
        decoder = self._decoders.get(name)
        if decoder is None:
            decoder = self._decoders[name] = codecs.getincrementaldecoder("utf-8")("replace")
        self._early.append((name, decoder.decode(data)))
        if self._console is not None:
            self._pass_on()
            return
        self._early_size += len(data)
        while self._early_size > EARLY_BYTES:
            self._early_size -= len(self._early.pop(0)[1].encode())

    def flush(self) -> bytes:
        """Writes the lines so far; returns whether lines are kept."""
        self._thread.join()
        self._pass_on()
        if self._console is None:
            return LOST
        self._console.flush()
        return KEPT

    def end(self) -> bytes:
        """Writes the last lines and closes the spool; returns whether lines were kept."""
        kept = self.flush()
        if self._console is not None:
            self._console.stop()
        if self._spool is not None:
            self._spool.close()
        return kept

    def _pass_on(self) -> None:
        early, self._early = self._early, []
        if self._console is not None:
            for name, text in early:
                self._console.add(text, name)

    def _open(self, folder: str, label: str, search_path: Sequence[str]) -> None:
        sys.path[:] = [*search_path, *sys.path]
        with suppress(Exception):  # whatever the reason, the streams are copied
            from pathlib import Path

            from modelyard.capture.console import Console
            from modelyard.capture.console_records import ConsoleRecords
            from modelyard.spool.writer import SpoolWriter

            self._spool = SpoolWriter(Path(folder))
            console = Console(ConsoleRecords(self._spool, label).keep)
            console.start(())
            self._console = console


class Relay:
    """Copies streams, and answers requests on `control`."""

    def __init__(self, streams: Sequence[Stream], control: socket.socket, parent: int) -> None:
        self._streams = streams
        self._control = control
        self._parent = parent
        self._parent_handle = _handle_of(parent)
        self._lines: Lines | None = None
        self._poll = select.poll()
        for stream in streams:
            self._poll.register(stream.source, select.POLLIN)
        self._poll.register(control, select.POLLIN)
        if self._parent_handle is not None:
            self._poll.register(self._parent_handle, select.POLLIN)

    def run(self, lines: Lines | None) -> None:
        """Copies until all streams have ended. Without `lines` it keeps none."""
        self._lines = lines
        looks = self._parent_handle is None or any(stream.is_terminal for stream in self._streams)
        while any(stream.is_open for stream in self._streams):
            ready = {number for number, _ in self._poll.poll(LOOK_SECONDS * 1000 if looks else None)}
            for stream in self._streams:
                stream.follow_size()
                if stream.source in ready:
                    self._copy(stream)
            if self._control.fileno() in ready:
                self._answer()
            if self._parent_handle in ready or os.getppid() != self._parent:
                self._end_with_parent()
        if self._lines is not None:
            self._lines.end()

    def _copy(self, stream: Stream) -> int:
        data = stream.read()
        if data and self._lines is not None:
            self._lines.add(stream.name, data)
        if not stream.is_open:
            self._poll.unregister(stream.source)
        return len(data or b"")

    def _copy_waiting(self) -> None:
        """Copies what was written until now."""
        for stream in self._streams:
            copied = 0
            while stream.is_open and copied < WAITING_BYTES and (count := self._copy(stream)):
                copied += count

    def _answer(self) -> None:
        request = b""
        with suppress(OSError):
            request = self._control.recv(1)
        self._copy_waiting()
        if not request:  # the process has replaced itself by another program
            self._poll.unregister(self._control)
            self._end_lines()
            return
        answer = LOST
        if self._lines is not None:
            answer = self._lines.flush() if request == FLUSH else self._end_lines()
        with suppress(OSError):
            self._control.send(answer)

    def _end_with_parent(self) -> None:
        if self._parent_handle is not None:
            self._poll.unregister(self._parent_handle)
            self._parent_handle = None
        if self._lines is not None:
            self._copy_waiting()
            self._end_lines()

    def _end_lines(self) -> bytes:
        lines, self._lines = self._lines, None
        return lines.end() if lines is not None else LOST


def main(options: Mapping[str, Any]) -> None:
    """`options` are those that `console_redirection` gives, as JSON."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when the programs that write have ended
    streams = [Stream(name, source, target) for name, source, target in options["streams"]]
    relay = Relay(streams, socket.socket(fileno=options["control"]), options["parent"])
    keeps = options["folder"] is not None
    relay.run(Lines(options["folder"], options["label"], options["search_path"]) if keeps else None)


def _handle_of(process: int) -> int | None:
    """A descriptor that can be read when the process has ended; None where the system has none."""
    if not hasattr(os, "pidfd_open"):
        return None
    with suppress(OSError):
        return os.pidfd_open(process)
    return None


def _window_size(terminal: int) -> bytes:
    """The size of a terminal, as the system writes it; empty where it is not known."""
    import fcntl
    import termios

    with suppress(OSError):
        return fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
    return b""


def _set_window_size(terminal: int, size: bytes) -> None:
    import fcntl
    import termios

    with suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
