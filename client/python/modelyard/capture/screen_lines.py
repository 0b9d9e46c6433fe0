"""What a terminal would show of a stream, as numbered lines: progress bars are one line, in their last state.

A small part of a terminal: ends of lines, carriage return, backspace, tab, and the
control sequences of progress bars (cursor up, down, left, right, to a column; erase
a line or what is below). Colours are kept; other sequences are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

REACH = 100
"""How many lines the cursor may go up; lines above do not change any more."""
LINE_BYTES = 16 << 10
"""Longer lines are cut."""
_TAB = 8
_STYLE_CHARACTERS = 64
"""Colours that are set on top of each other without an end are forgotten beyond this."""
_RESET = "\x1b[0m"
_TOKENS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # a control sequence
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # a title or the like, up to its end
    r"|\x1b[ -/]*[0-~]"
    r"|[\n\r\b\t]"
    r"|[\x00-\x1f\x7f]"
)
_PARTIAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]{0,4096}\x1b?|[ -/]*)?\Z")
"""A sequence whose end has not been written yet."""
_COLOUR = re.compile(r"\x1b\[([0-9;:]*)m\Z")


class ScreenLine(NamedTuple):
    """A line: its number from 1, when it was last changed (seconds since 1970), and its text."""

    number: int
    time: float
    text: str


class ScreenLines:
    """The lines of one stream. `number` gives the next number: streams of one process share them."""

    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        self._lines: list[_Line] = []
        self._row = 0
        self._column = 0
        self._style = ""
        self._rest = ""
        self._changed: dict[int, _Line] = {}

    def write(self, text: str, time: float) -> None:
        """Takes what was written at a time."""
        text = self._rest + text
        self._rest = ""
        partial = _PARTIAL.search(text)
        if partial:
            text, self._rest = text[: partial.start()], partial.group()
        at = 0
        for token in _TOKENS.finditer(text):
            if token.start() > at:
                self._put(text[at : token.start()], time)
            self._control(token.group(), time)
            at = token.end()
        if at < len(text):
            self._put(text[at:] if at else text, time)

    def take_changed(self) -> list[ScreenLine]:
        """The lines that changed since the last time, by number."""
        changed, self._changed = self._changed, {}
        return [ScreenLine(number, line.time, line.text()) for number, line in sorted(changed.items())]

    def _line(self) -> _Line:
        """The line of the cursor; lines up to it are made."""
        while len(self._lines) <= self._row:
            self._lines.append(_Line(self._number()))
        return self._lines[self._row]

    def _touch(self, line: _Line, time: float) -> None:
        line.time = time
        self._changed[line.number] = line

    def _put(self, text: str, time: float) -> None:
        line = self._line()
        line.put(self._column, text, self._style)
        self._column += len(text)
        self._touch(line, time)

    def _control(self, token: str, time: float) -> None:
        if token == "\n":
            self._end_line(time)
        elif token == "\r":
            self._column = 0
        elif token == "\b":
            self._column = max(self._column - 1, 0)
        elif token == "\t":
            self._put(" " * (_TAB - self._column % _TAB), time)
        elif colour := _COLOUR.match(token):
            codes = colour.group(1)
            # "0" or nothing takes all back; what is before it does not matter.
            kept = self._style if len(self._style) < _STYLE_CHARACTERS else ""
            self._style = kept + token if codes.strip("0") else ""
        elif token.startswith("\x1b["):
            self._move(token[-1], token[2:-1], time)

    def _end_line(self, time: float) -> None:
        line = self._line()
        if not line.time:
            self._touch(line, time)  # an empty line
        self._row += 1
        self._column = 0
        if self._row > REACH:
            drop = self._row - REACH
            del self._lines[:drop]
            self._row = REACH

    def _move(self, kind: str, numbers: str, time: float) -> None:
        first = numbers.split(";")[0]
        count = int(first) if first.isascii() and first.isdigit() else 0
        steps = min(max(count, 1), LINE_BYTES)
        if kind in "AF":
            self._row = max(self._row - steps, 0)
        elif kind in "BE":
            self._row = min(self._row + steps, max(len(self._lines) - 1, self._row))
        elif kind == "C":
            self._column += steps
        elif kind == "D":
            self._column = max(self._column - steps, 0)
        elif kind == "G":
            self._column = steps - 1
        elif kind in "KJ":
            self._erase(kind, count, time)
        if kind in "EF":
            self._column = 0

    def _erase(self, kind: str, what: int, time: float) -> None:
        if kind == "K":
            if self._row < len(self._lines):
                self._lines[self._row].erase(self._column, what)
                self._touch(self._lines[self._row], time)
        elif what == 0:
            for below, line in enumerate(self._lines[self._row :]):
                line.erase(0 if below else self._column, 0)
                self._touch(line, time)
        elif self._lines:
            # A cleared screen begins anew below: what was on it stays.
            self._row, self._column = len(self._lines), 0


class _Line:
    """The characters of a line, and the colour of each once one has a colour."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.time: float = 0.0
        self._characters: list[str] = []
        self._styles: list[str] | None = None

    def put(self, column: int, text: str, style: str) -> None:
        """Overwrites from a column on."""
        text = text[: max(LINE_BYTES - column, 0)]
        if not text:
            return
        gap = column - len(self._characters)
        if gap > 0:
            self._characters += " " * gap
        if style and self._styles is None:
            self._styles = [""] * len(self._characters)
        if self._styles is not None:
            self._styles += [""] * (len(self._characters) - len(self._styles))
            self._styles[column : column + len(text)] = [style] * len(text)
        self._characters[column : column + len(text)] = text

    def erase(self, column: int, what: int) -> None:
        """Erases from a column to the end (0), from the begin to it (1), or everything (2)."""
        if what == 1:
            self.put(0, " " * (column + 1), "")
            return
        keep = 0 if what == 2 else column
        del self._characters[keep:]
        if self._styles is not None:
            del self._styles[keep:]

    def text(self) -> str:
        """With colours as escapes, without spaces at the end, at most 16 KiB."""
        end = len(self._characters)
        while end and self._characters[end - 1] == " " and not (self._styles and self._styles[end - 1]):
            end -= 1
        if self._styles is None:
            return _cut("".join(self._characters[:end]))
        parts: list[str] = []
        style = ""
        for character, wanted in zip(self._characters[:end], self._styles, strict=False):
            if wanted != style:
                parts.append((_RESET if style else "") + wanted)
                style = wanted
            parts.append(character)
        return _cut("".join(parts) + (_RESET if style else ""))


def _cut(text: str) -> str:
    data = text.encode("utf-8", "replace")
    return data[:LINE_BYTES].decode("utf-8", "ignore")
