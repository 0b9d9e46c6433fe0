"""One thread for short reads, which hands over their results in batches.

Handing over each result by itself costs more than the read: the event loop and
several threads would compete for the interpreter lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from modelyard_server.observability import telemetry

log = logging.getLogger(__name__)

BATCH = 64
"""Most results of a batch. A batch is handed over as soon as no further read waits."""
BATCH_SECONDS = 0.01
"""How long a batch may collect results, apart from its last read."""


class _Work(NamedTuple):
    work: Callable[[], Any]
    answer: asyncio.Future[Any]
    at: float


class _Done(NamedTuple):
    answer: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class LookupThread:
    """Runs work one after the other on a thread, which starts with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False
        telemetry.POOL_QUEUE.watch(self._asked.qsize, name)
        telemetry.POOL_BUSY.watch(lambda: self._busy, name)
        telemetry.POOL_THREADS.watch(lambda: 1, name)

    async def run(self, work: Callable[[], Any]) -> Any:
        """Returns the result of the work, or raises its error. A caller cancelled early skips its work."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        answer = asyncio.get_running_loop().create_future()
        self._asked.put(_Work(telemetry.in_current_span(work), answer, time.perf_counter()))
        return await answer

    def close(self) -> None:
        """Waits for the queued work and ends the thread."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()

    def _serve(self) -> None:
        batch: list[_Done] = []
        since = 0.0
        while (asked := self._asked.get()) is not None:
            begin = time.perf_counter()
            since = since if batch else begin
            self._busy = True
            telemetry.POOL_WAIT_SECONDS.observe(begin - asked.at, self._name)
            batch.append(_done(asked))
            full = len(batch) >= BATCH or time.perf_counter() - since > BATCH_SECONDS
            if full or self._asked.empty():
                _hand_over(batch)
                batch = []
                self._busy = False
        if batch:
            _hand_over(batch)


def _done(asked: _Work) -> _Done:
    if asked.answer.cancelled():
        return _Done(asked.answer)
    try:
        return _Done(asked.answer, asked.work())
    except BaseException as error:  # of any kind: it is raised where the result is awaited
        return _Done(asked.answer, error=error)


def _hand_over(batch: Sequence[_Done]) -> None:
    with contextlib.suppress(RuntimeError):  # the event loop is closed
        batch[0].answer.get_loop().call_soon_threadsafe(_settle, batch)


def _settle(batch: Sequence[_Done]) -> None:
    for answer, result, error in batch:
        if answer.cancelled():
            if error is not None:
                log.info("a transaction failed after its client had disconnected: %s", error)
        elif error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)
