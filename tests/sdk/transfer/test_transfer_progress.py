"""What a terminal shows of a transfer, and what waits for a server cost."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from modelyard.host import terminal
from modelyard.transfer import progress
from modelyard.transfer.progress import SILENT, Bar
from modelyard.transfer.threads import Stopped, ThreadGroup


class Terminal(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_bar_counts_what_was_already_there(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar(show_after=0.0)
    bar.start("upload", 1000)
    bar.advance(120, 120)
    bar.advance(380)
    bar.refresh()
    bar.close()
    bar.advance(1)
    shown = capsys.readouterr().err
    assert "upload" in shown
    assert "50%" in shown
    assert "12% already there" in shown


def test_a_bar_starts_anew_when_the_upload_does(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar(show_after=0.0)
    for _ in range(2):
        bar.start("upload", 1000)
        bar.advance(100, 100)
    bar.refresh()
    bar.close()
    shown = capsys.readouterr().err
    assert "10% already there" in shown
    assert "20%" not in shown


def test_no_bar_is_shown_outside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert progress.automatic() is SILENT


def test_a_terminal_gets_a_bar_unless_silenced() -> None:
    before = sys.stderr
    sys.stderr = Terminal()
    try:
        assert isinstance(progress.automatic(), Bar)
        terminal.silence(True)
        assert progress.automatic() is SILENT
    finally:
        terminal.silence(None)
        sys.stderr = before


def test_the_first_error_of_a_group_is_the_one_raised() -> None:
    group = ThreadGroup()
    woken = threading.Event()
    group.on_failure(woken.set)

    def wait() -> None:
        woken.wait(30)
        raise Stopped

    def fail() -> None:
        raise ValueError("first")

    threads = [group.start(wait, "waits"), group.start(fail, "fails")]
    with pytest.raises(ValueError, match="first"):
        group.join(threads)
    assert woken.is_set()
