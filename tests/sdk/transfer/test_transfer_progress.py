"""What a terminal shows of a transfer, and what waits for a server cost."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator

import pytest

from modelyard import errors
from modelyard.configuration.addresses import Endpoint
from modelyard.host import terminal
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import Retrier, is_retryable
from modelyard.transfer import progress
from modelyard.transfer.progress import SILENT, Bar
from modelyard.transfer.threads import Stopped, ThreadGroup


class Terminal(io.StringIO):
    """Text that says it goes to a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_bar_says_what_was_already_there(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_nothing_is_shown_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
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


class Finder:
    """Finds a server at another port each time; nothing is sent there."""

    def __init__(self) -> None:
        self.found = 0
        self.connection = Connection(self.find)
        self.channel = self.connection.channel

    def find(self) -> Endpoint:
        self.found += 1
        return Endpoint(f"127.0.0.1:{self.found}", tls=False)


@pytest.fixture
def server() -> Iterator[Finder]:
    finder = Finder()
    yield finder
    finder.connection.close()


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (errors.ServerStopping("cut"), True),
        (errors.StoreUnavailable("down"), True),
        (errors.TooManyStreams("busy"), True),
        (errors.RetryTransaction("raced"), True),
        (errors.DeadlineExceeded("late"), True),
        (errors.InternalError("RST_STREAM"), True),
        (errors.CommError("cancelled by the transport"), True),
        (errors.InternalError("bug", metadata={"incident": "1"}), False),
        (errors.DiskFull("full"), False),
        (errors.NotAllowed("no"), False),
        (errors.ChunkCorrupt("bits"), False),
        (errors.UploadExpired("late"), False),
        (ValueError("bug"), False),
    ],
)
def test_only_what_may_pass_is_waited_for(server: Finder, error: Exception, transient: bool) -> None:
    assert is_retryable(error) is transient
    if not transient:
        with pytest.raises(type(error)):
            Retrier(server.connection).wait(error, server.channel)
        assert server.found == 1


def test_a_server_is_found_again_once_for_all_threads(server: Finder) -> None:
    patience = Retrier(server.connection)
    cut = (errors.ServerStopping("cut"), server.channel)
    threads = [threading.Thread(target=patience.wait, args=cut) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.found == 2


def test_patience_ends_without_progress(server: Finder) -> None:
    patience = Retrier(server.connection, give_up=0.0)
    patience.wait(errors.RetryTransaction("first"), server.channel)
    with pytest.raises(errors.RetryTransaction, match="second"):
        patience.wait(errors.RetryTransaction("second"), server.channel)
    patience.progress()
    patience.wait(errors.RetryTransaction("third"), server.channel)


def test_the_first_error_of_a_crew_is_the_one_raised() -> None:
    crew = ThreadGroup()
    woken = threading.Event()
    crew.on_failure(woken.set)

    def wait() -> None:
        woken.wait(30)
        raise Stopped

    def fail() -> None:
        raise ValueError("first")

    threads = [crew.start(wait, "waits"), crew.start(fail, "fails")]
    with pytest.raises(ValueError, match="first"):
        crew.join(threads)
    assert woken.is_set()
