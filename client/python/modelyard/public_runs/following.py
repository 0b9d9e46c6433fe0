"""Follows a run: its rows, its console and its state, as they happen."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from modelyard.contract import errors
from modelyard.host import waiting
from modelyard.rpc import list_calls, messages, metric_scan
from modelyard.rpc.connection import Connection
from modelyard.rpc.metric_scan import Batch
from modelyard.rpc.records import ConsoleLine, RunRecord
from modelyard.rpc.retry import FIRST_PAUSE, Backoff, asks_for_retry
from modelyard.v1 import run_pb2 as pb

_LONGEST_PAUSE = 10.0
_LAST_LINES = 1_000


class News(NamedTuple):
    """What happened: the run as it is now, new rows, and new or replaced lines of the console."""

    run: RunRecord
    rows: list[dict[str, Any]]
    system: list[dict[str, Any]]
    lines: list[ConsoleLine]


class Following(Iterator[News]):
    """What happens to a run, from a step on. It reconnects when the connection was lost, and repeats nothing.

    It ends when the run has ended, and when `close` is called, also by another thread.
    Errors: NotFound, also when the run is deleted meanwhile; those of calls.
    """

    def __init__(
        self,
        connection: Connection,
        run: RunRecord,
        *,
        min_step: int = 0,
        keys: Sequence[str] = (),
        state_only: bool = False,
    ) -> None:
        """`state_only`: without rows and lines."""
        self._connection = connection
        self._run = run
        self._keys = keys
        self._state_only = state_only
        self._next_step = min_step
        self._seen: dict[str, int] = {}
        """By writer of the console, the number of its last line."""
        self._request = pb.WatchRunsRequest(
            runs=[pb.WatchedRun(run_id=run.id, min_step=min_step)],
            keys=keys,
            history=not state_only,
            system=not state_only,
            console=not state_only,
        )
        self._call: Any = None
        self._closed = threading.Event()
        self._news = self._follow()

    def __next__(self) -> News:
        return next(self._news)

    def close(self) -> None:
        """Ends the iteration."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def _follow(self) -> Iterator[News]:
        if self._run.state == "running":
            yield from self._watch()
        if not (self._closed.is_set() or self._state_only):
            yield self._rest()

    def _watch(self) -> Iterator[News]:
        """The news while it runs. That it ended may be said before its last rows."""
        backoff = Backoff(longest=_LONGEST_PAUSE, give_up=math.inf)
        while not self._closed.is_set():
            try:
                for news in self._stream():
                    backoff.reset()
                    yield news
                    if news.run.state != "running":
                        return
                pause = FIRST_PAUSE
            except errors.CommError as error:
                if self._closed.is_set():
                    return
                if not asks_for_retry(error) and not self._connection.may_have_moved(error):
                    raise
                pause = backoff.next(error.retry_delay) or _LONGEST_PAUSE
            waiting.until(self._closed.wait, pause)
            self._reconnect()

    def _stream(self) -> Iterator[News]:
        self._call = self._connection.runs.WatchRuns(self._request)
        if self._closed.is_set():  # closed before this call existed and could be cancelled
            self._call.cancel()
        try:
            for reply in self._call:
                if reply.run_id:
                    yield self._read(reply)
        finally:
            self._call.cancel()

    def _read(self, reply: pb.WatchRunsResponse) -> News:
        if reply.deleted:
            raise errors.NotFound(f"run {self._run.path} was deleted")
        if reply.HasField("run"):
            self._run = messages.run(reply.run)
        lines = [messages.console_line(line) for line in reply.console]
        news = News(self._run, self._rows(reply.history), self._rows(reply.system), lines)
        self._next_step = max([self._next_step, *(row["_step"] + 1 for row in news.rows)])
        for line in lines:
            self._seen[line.writer] = max(line.number, self._seen.get(line.writer, 0))
        self._request.runs[0].position = reply.position
        return news

    def _rest(self) -> News:
        """What is there of a run that has ended, beyond what was seen."""
        run = self._run
        source = metric_scan.Source(run.id, run.create_time.timestamp(), run.attempt)
        batches = metric_scan.batches(self._connection, source, self._keys, self._next_step, any_key=True)
        lines = list_calls.console_lines(self._connection, run.id, run.attempt, last=_LAST_LINES)
        return News(
            run,
            [row for batch in batches for row in batch.rows()],
            [],
            [line for line in lines if line.number > self._seen.get(line.writer, 0)],
        )

    def _rows(self, batches: Sequence[Any]) -> list[dict[str, Any]]:
        started = self._run.create_time.timestamp()
        return [row for batch in batches for row in Batch(batch, started).rows()]

    def _reconnect(self) -> None:
        try:
            self._connection.reconnect()
        except errors.CommError as error:
            if not asks_for_retry(error):
                raise
