"""Watches of runs as consumers hold them, and what was seen of each run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from modelyard.v1 import metric_pb2, run_console_pb2
from modelyard.v1 import run_pb2 as pb
from tests.clients import refusals
from tests.clients.refusals import Refusal
from tests.clients.waiting import until
from tests.parts.server import LiveServer, Stubs

WAIT_SECONDS = 15.0


class Seen:
    """What a watch said of one run, in the order in which it came."""

    def __init__(self) -> None:
        self.runs: list[pb.Run] = []
        self.rows: list[tuple[int, str, float]] = []
        """(attempt, metric, point) of each row of HISTORY, of metrics that are logged as doubles."""
        self.steps: list[int] = []
        self.system: list[int] = []
        self.lines: list[run_console_pb2.ConsoleLine] = []
        self.position = ""
        self.deleted = False

    def add(self, message: pb.WatchRunsResponse) -> None:
        if message.HasField("run"):
            self.runs.append(message.run)
        for batch in message.history:
            self.steps += batch.steps
            for column in batch.columns:
                self.rows += [(self.runs[-1].attempt, column.key, point) for point in column.doubles]
        self.system += [step for batch in message.system for step in batch.steps]
        self.lines += message.console
        self.position = message.position
        self.deleted = message.deleted


class RunWatch:
    """A watch that a thread reads."""

    def __init__(self, stubs: Stubs, request: pb.WatchRunsRequest) -> None:
        self.seen: dict[str, Seen] = {watched.run_id: Seen() for watched in request.runs}
        self.idle = 0
        self.messages: list[pb.WatchRunsResponse] = []
        self.error: grpc.RpcError | None = None
        self.call = stubs.runs.WatchRuns(request)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def until(self, condition: Callable[[], object]) -> None:
        """Waits until the condition holds after some message."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition() or self.error, WAIT_SECONDS), self.messages[-3:]
        assert condition(), self.error

    def end(self) -> Refusal:
        """Why the watch ended, once it has."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.error, WAIT_SECONDS)
        refusal = Refusal()
        assert self.error is not None
        refusals.read(self.error, refusal)
        return refusal

    def close(self) -> None:
        self.call.cancel()
        self._thread.join(WAIT_SECONDS)

    def _read(self) -> None:
        try:
            for message in self.call:
                with self._changed:
                    self.messages.append(message)
                    if message.run_id:
                        self.seen[message.run_id].add(message)
                    else:
                        self.idle += 1
                    self._changed.notify_all()
        except grpc.RpcError as error:
            with self._changed:
                self.error = error
                self._changed.notify_all()


@contextlib.contextmanager
def watching(
    stubs: Stubs, *run_ids: str, min_step: int = 0, positions: Sequence[str] = (), **request: Any
) -> Iterator[RunWatch]:
    """A watch of runs; of rows of HISTORY unless other things are asked for."""
    asked = request or {"history": True}
    runs = [
        pb.WatchedRun(run_id=run_id, min_step=min_step, position=positions[index] if positions else "")
        for index, run_id in enumerate(run_ids)
    ]
    watch = RunWatch(stubs, pb.WatchRunsRequest(runs=runs, **asked))
    try:
        yield watch
    finally:
        watch.close()


class Consumer:
    """Watches a run for ever: after any break it goes on from the last position, at the next server."""

    def __init__(self, servers: Sequence[LiveServer], run_id: str, **request: Any) -> None:
        self.seen = Seen()
        self.breaks = 0
        self._servers, self._run_id = servers, run_id
        self._request = request or {"history": True, "system": True, "console": True}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._consume, daemon=True)
        self._thread.start()

    def finish(self, condition: Callable[[Seen], bool]) -> Seen:
        until(lambda: condition(self.seen), seconds=WAIT_SECONDS)
        self._over.set()
        return self.seen

    def _consume(self) -> None:
        while not self._over.is_set():
            stubs = self._servers[self.breaks % len(self._servers)].stubs()
            watched = pb.WatchedRun(run_id=self._run_id, position=self.seen.position)
            try:
                for message in stubs.runs.WatchRuns(pb.WatchRunsRequest(runs=[watched], **self._request)):
                    if message.run_id:
                        self.seen.add(message)
                    if self._over.is_set():
                        break
            except grpc.RpcError:
                self.breaks += 1
                time.sleep(0.05)


def log_rows(
    stubs: Stubs, run_id: str, sequence: int, steps: Sequence[int], *, writer: str = "w", **more: Any
) -> None:
    """A batch of rows whose point of the metric `a` is the step."""
    column = metric_pb2.MetricColumn(key=more.pop("key", "a"), doubles=[float(step) for step in steps])
    rows = metric_pb2.MetricBatch(steps=steps, timestamps=[1.0] * len(steps), columns=[column])
    stubs.metrics.LogMetrics(
        metric_pb2.LogMetricsRequest(run_id=run_id, writer=writer, sequence=sequence, batch=rows, **more)
    )


def log_lines(
    stubs: Stubs, run_id: str, sequence: int, texts: dict[int, str], *, writer: str = "w", **more: Any
) -> None:
    """Lines of a console by their numbers."""
    lines = []
    for number, text in texts.items():
        line = run_console_pb2.ConsoleLine(number=number, text=text)
        line.write_time.FromSeconds(1_000_000 + number)
        lines.append(line)
    stubs.console.LogConsoleLines(
        run_console_pb2.LogConsoleLinesRequest(
            run_id=run_id, writer=writer, sequence=sequence, lines=lines, **more
        )
    )
