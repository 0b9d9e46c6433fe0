"""A run that is followed: nothing is missed or repeated, also when its server restarts."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import modelyard
from modelyard import Api, errors
from modelyard.public_runs.following import Following, News
from modelyard.runs.run import Run
from tests.clients.waiting import until
from tests.parts.tcp_proxy import TcpProxy


@pytest.fixture
def run(work: Path) -> Run:
    """A run in a project of its own."""
    return modelyard.init()


class _Reader(threading.Thread):
    """Reads a following to its end."""

    def __init__(self, run: Run, url: str | None = None) -> None:
        super().__init__(daemon=True)
        found = Api({"base_url": url} if url else None).run(run.path)
        self.following = Following(found._workspace.connection, found._record)
        self.news: list[News] = []
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            for item in self.following:
                self.news.append(item)
        except errors.CommError as error:
            self.error = error

    @property
    def steps(self) -> list[int]:
        """The steps of the rows so far."""
        return [row["_step"] for item in self.news for row in item.rows]

    @property
    def states(self) -> list[str]:
        """The states so far, each once."""
        return list(dict.fromkeys(item.run.state for item in self.news))


def test_rows_come_once_and_in_order_until_the_run_ends(run: Run) -> None:
    run.log({"a": 0})
    reader = _Reader(run)
    until(lambda: reader.steps == [0])
    for step in range(1, 50):
        run.log({"a": step})
        if step == 25:
            until(lambda: 25 in reader.steps)
    run.finish(exit_code=1)
    reader.join(30)
    assert not reader.is_alive()
    assert reader.steps == list(range(50))
    assert reader.states == ["running", "failed"]
    assert reader.news[-1].run.exit_code == 1


def test_a_run_that_ended_is_read_to_its_end(run: Run) -> None:
    for step in range(5):
        run.log({"a": step})
    run.finish()
    reader = _Reader(run)
    reader.join(30)
    assert (reader.steps, reader.states) == ([0, 1, 2, 3, 4], ["finished"])


def test_a_lost_connection_repeats_and_misses_nothing(run: Run) -> None:
    target = int(os.environ["MODELYARD_URL"].rpartition(":")[2])
    with TcpProxy(target) as proxy:
        reader = _Reader(run, f"grpc://{proxy.address}")
        for cut in range(3):
            for step in range(10 * cut, 10 * cut + 10):
                run.log({"a": step})
            until(lambda: reader.steps[-1:] == [10 * cut + 9])  # noqa: B023  # before the next one
            proxy.cut()
        run.log({"a": 30})
        run.finish()
        reader.join(60)
    assert not reader.is_alive()
    assert reader.steps == list(range(31))
    assert proxy.accepted > 3


def test_closing_ends_a_wait_and_a_deletion_is_an_error(run: Run) -> None:
    reader, other = _Reader(run), _Reader(run)
    until(lambda: bool(reader.news and other.news))
    reader.following.close()
    reader.join(30)
    assert not reader.is_alive()
    assert reader.error is None
    Api().run(run.path).delete()
    other.join(30)
    assert isinstance(other.error, errors.NotFound)
