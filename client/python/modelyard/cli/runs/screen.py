"""Redraws some lines of a terminal in place, below what it showed before."""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Sequence

from modelyard.contract import streams

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_COLOUR_OR_CHARACTER = re.compile(r"\x1b\[[0-9;]*m|.", re.DOTALL)
_RESET = "\x1b[0m"


class Screen:
    """The lines that a command redraws. `close` leaves the last ones, and the cursor below them."""

    def __init__(self) -> None:
        self._widths: list[int] = []
        """Of each line on the terminal, in columns."""

    @staticmethod
    def size() -> tuple[int, int]:
        """Columns and lines that there is room for."""
        size = shutil.get_terminal_size()
        return max(1, size.columns), max(1, size.lines - 1)

    def draw(self, lines: Sequence[str]) -> None:
        """Shows these lines instead of those before; they are cut to the terminal. Errors: OSError."""
        columns, height = self.size()
        cut = [cut_coloured(line, columns) for line in lines[:height]]
        # A terminal that became narrower has wrapped the lines that were drawn before.
        above = sum(-(-max(1, width) // columns) for width in self._widths)
        up = f"\x1b[{min(above, height)}F" if above else ""
        streams.write(sys.stdout, _HIDE + up + "\x1b[J" + "".join(f"{line}\n" for line in cut))
        self._widths = [width_of(line) for line in cut]

    def close(self) -> None:
        """Shows the cursor again."""
        try:
            streams.write(sys.stdout, _SHOW)
        except OSError:  # the terminal is gone
            return


def width_of(text: str) -> int:
    """How many columns a text takes."""
    return sum(_columns(character) for character in _COLOUR.sub("", text))


def cut_coloured(text: str, width: int) -> str:
    """The part of a text that fits `width` columns, with `…` if it is cut.

    Colours take none; control characters and other sequences are left out.
    """
    pieces = [piece for piece in _COLOUR_OR_CHARACTER.findall(text) if piece.isprintable() or len(piece) > 1]
    is_coloured = any(len(piece) > 1 for piece in pieces)
    if width_of("".join(pieces)) > width:
        room = width - 1
        for number, piece in enumerate(pieces):
            room -= 0 if len(piece) > 1 else _columns(piece)
            if room < 0:
                pieces = [*pieces[:number], "…"]
                break
    end = _RESET if is_coloured and not "".join(pieces).endswith(_RESET) else ""
    return "".join(pieces) + end


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
