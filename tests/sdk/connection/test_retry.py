"""The retry policy: what is repeated, after which pauses, and when the error is raised."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from modelyard import errors
from modelyard.configuration.addresses import Endpoint
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import FIRST_PAUSE, LONGEST_PAUSE, Backoff, Retrier, is_retryable


def pauses(backoff: Backoff, count: int, least: float | None = None) -> list[float]:
    found = [backoff.next(least) for _ in range(count)]
    assert None not in found
    return [pause for pause in found if pause is not None]


def test_pauses_double_up_to_the_longest() -> None:
    expected = [FIRST_PAUSE * 2**number for number in range(6)] + [LONGEST_PAUSE] * 3
    for pause, whole in zip(pauses(Backoff(), 9), expected, strict=True):
        assert whole / 2 <= pause <= whole


def test_progress_resets_the_pauses() -> None:
    backoff = Backoff()
    pauses(backoff, 8)
    backoff.reset()
    assert pauses(backoff, 1)[0] <= FIRST_PAUSE


def test_the_delay_that_a_server_asks_for_is_kept() -> None:
    assert all(10 <= pause <= 20 for pause in pauses(Backoff(), 3, least=20.0))


def test_no_pause_is_longer_than_the_time_to_give_up() -> None:
    assert Backoff(give_up=60.0).next(3600.0) is None


def test_a_number_of_retries_ends_them() -> None:
    backoff = Backoff(retries=3)
    pauses(backoff, 3)
    assert backoff.next() is None


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
def test_only_temporary_errors_are_retried(server: Finder, error: Exception, transient: bool) -> None:
    assert is_retryable(error) is transient
    if not transient:
        with pytest.raises(type(error)):
            Retrier(server.connection).wait(error, server.channel)
        assert server.found == 1


def test_a_server_is_found_again_once_for_all_threads(server: Finder) -> None:
    retrier = Retrier(server.connection)
    cut = (errors.ServerStopping("cut"), server.channel)
    threads = [threading.Thread(target=retrier.wait, args=cut) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.found == 2


def test_retries_end_without_progress(server: Finder) -> None:
    retrier = Retrier(server.connection, give_up=0.0)
    retrier.wait(errors.RetryTransaction("first"), server.channel)
    with pytest.raises(errors.RetryTransaction, match="second"):
        retrier.wait(errors.RetryTransaction("second"), server.channel)
    retrier.progress()
    retrier.wait(errors.RetryTransaction("third"), server.channel)
