"""What a stream shows: progress bars and control sequences as a terminal shows them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import tqdm as tqdm_package
from tqdm import tqdm, trange

from modelyard.capture.screen_lines import LINE_BYTES, ScreenLines


def screen() -> ScreenLines:
    numbers = itertools.count(1)
    return ScreenLines(lambda: next(numbers))


def shown(*writes: str) -> list[str]:
    """The lines after these writes, in one turn and with a turn after each: both are the same."""
    at_once, by_turns = screen(), screen()
    lines: dict[int, str] = {}
    for text in writes:
        at_once.write(text, 1.0)
        by_turns.write(text, 1.0)
        lines |= {line.number: line.text for line in by_turns.take_changed()}
    whole = {line.number: line.text for line in at_once.take_changed()}
    assert lines == whole
    assert sorted(whole) == list(range(1, len(whole) + 1))
    return [whole[number] for number in sorted(whole)]


@pytest.mark.parametrize(
    ("writes", "lines"),
    [
        (["a\nb\n"], ["a", "b"]),
        (["a", "b", "\n", "\n", "c"], ["ab", "", "c"]),
        (["a\r\nb\r\n"], ["a", "b"]),
        ([" 0%\r 50%\r100%\n", "done\n"], ["100%", "done"]),
        (["long text\rshort"], ["shorttext"]),
        (["long text\r\x1b[Kshort"], ["short"]),
        (["abc\b\bX"], ["aXc"]),
        (["a\tb"], ["a       b"]),
        (["one\ntwo\nthree\x1b[2A\rONE\x1b[2B\rTHREE"], ["ONE", "two", "THREE"]),
        (["abc\x1b[1GX\x1b[1CZ"], ["XbZ"]),
        (["abc\x1b[2D-"], ["a-c"]),
        (["abc\x1b[1K"], [""]),
        (["abc\x1b[2Kd"], ["   d"]),
        (["one\ntwo\nthree\x1b[1A\r\x1b[J"], ["one", "", ""]),
        (["before\x1b[2J\x1b[Hafter"], ["before", "after"]),
        (["\x1b]0;title\x07text\x1b[?25l"], ["text"]),
        (["a\x1b[", "2", "Db"], ["b"]),
        (["\x1b]0;ti", "tle\x1b\\x"], ["x"]),
        (["a\0b\x07c"], ["abc"]),
        (["trailing   \n"], ["trailing"]),
        (["日本\r語\n"], ["語本"]),
    ],
)
def test_lines_are_as_a_terminal_shows_them(writes: list[str], lines: list[str]) -> None:
    assert shown(*writes) == lines


def test_colours_stay_and_end_with_their_line() -> None:
    assert shown("\x1b[31mred\x1b[0m plain\n") == ["\x1b[31mred\x1b[0m plain"]
    assert shown("\x1b[1m\x1b[32mboth\nnext\x1b[m\n") == [
        "\x1b[1m\x1b[32mboth\x1b[0m", "\x1b[1m\x1b[32mnext\x1b[0m",
    ]  # fmt: skip
    assert shown("abc\r\x1b[31mX\x1b[0m") == ["\x1b[31mX\x1b[0mbc"]


def test_a_long_line_is_cut_and_bytes_count() -> None:
    (line,) = shown("é" * LINE_BYTES)
    assert line == "é" * (LINE_BYTES // 2)
    (line,) = shown("x" * 100 + "\x1b[31m" + "y" * LINE_BYTES)
    assert len(line) <= LINE_BYTES


def test_lines_that_the_cursor_cannot_reach_are_let_go() -> None:
    lines = screen()
    lines.write("".join(f"{number}\n" for number in range(100_000)), 1.0)
    assert [line.text for line in lines.take_changed()] == [str(number) for number in range(100_000)]
    lines.write("\x1b[9999999A\rX", 2.0)
    assert [(line.number, line.text, line.time) for line in lines.take_changed()] == [(99_901, "X9900", 2.0)]


def _nested(stream: Any) -> None:
    for _ in trange(4, desc="1st loop", file=stream, mininterval=0):
        for _ in trange(5, desc="2nd loop", leave=False, file=stream, mininterval=0):
            for _ in trange(50, desc="3rd loop", leave=False, file=stream, mininterval=0):
                pass


def _manual(stream: Any) -> None:
    with tqdm(total=100, file=stream) as bar:
        for _ in range(10):
            bar.update(10)


def _messages(stream: Any) -> None:
    bar = trange(10, file=stream, mininterval=0)
    for number in bar:
        if not number % 3:
            tqdm.write(f"Done task {number}", file=stream)


def _positions(stream: Any) -> None:
    bars = [
        tqdm(total=20, desc=f"#{number}", position=number, file=stream, mininterval=0) for number in range(3)
    ]
    for _ in range(20):
        for bar in bars:
            bar.update()
    for bar in bars:
        bar.close()


def _described(stream: Any) -> None:
    bar = tqdm(["a", "b", "c", "d"], file=stream, mininterval=0, colour="green")
    for character in bar:
        bar.set_description(f"Processing {character}")


@pytest.mark.parametrize(
    ("example", "lines"),
    [
        (_nested, ["1st loop: 100%"]),
        (_manual, ["100%"]),
        (_messages, ["Done task 0", "Done task 3", "Done task 6", "Done task 9", "100%"]),
        (_positions, ["#0: 100%", "#1: 100%", "#2: 100%"]),
        (_described, ["Processing d: 100%"]),
    ],
)
def test_examples_of_tqdm_collapse_to_their_last_state(
    example: Callable[[Any], None], lines: list[str]
) -> None:
    stream = io.StringIO()
    example(stream)
    assert tqdm_package.__version__
    found = [line for line in shown(stream.getvalue()) if line]
    assert [line[: len(start)] for line, start in zip(found, lines, strict=True)] == lines
    assert all("\r" not in line and "\x1b[A" not in line for line in found)
