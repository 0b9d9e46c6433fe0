"""One thread for short reads, which answers many of them at a time.

Handing each result to the event loop by itself costs more than reading it:
the loop and several threads take the interpreter from one another all the time.
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
"""Results that are handed over together, at most; what nothing waits behind is handed over at once."""
BATCH_SECONDS = 0.01
"""A result waits no longer for others than that and one more read."""


class _Asked(NamedTuple):
    work: Callable[[], Any]
    answer: asyncio.Future[Any]
    at: float


class _Answered(NamedTuple):
    answer: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class LookupThread:
    """Does what it is asked for, one after the other, on a thread that starts with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False
        telemetry.POOL_QUEUE.watch(self._asked.qsize, name)
        telemetry.POOL_BUSY.watch(lambda: self._busy, name)
        telemetry.POOL_THREADS.watch(lambda: 1, name)

    async def run(self, work: Callable[[], Any]) -> Any:
        """What the work returns or raises. Nothing is done for a caller who was cancelled in time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        answer = asyncio.get_running_loop().create_future()
        self._asked.put(_Asked(telemetry.carried(work), answer, time.perf_counter()))
        return await answer

    def close(self) -> None:
        """Waits for what was asked for, and ends the thread."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()

    def _serve(self) -> None:
        batch: list[_Answered] = []
        since = 0.0
        while (asked := self._asked.get()) is not None:
            begin = time.perf_counter()
            since = since if batch else begin
            self._busy = True
            telemetry.POOL_WAIT_SECONDS.observe(begin - asked.at, self._name)
            batch.append(_answered(asked))
            full = len(batch) >= BATCH or time.perf_counter() - since > BATCH_SECONDS
            if full or self._asked.empty():
                _hand_over(batch)
                batch = []
                self._busy = False
        if batch:
            _hand_over(batch)


def _answered(asked: _Asked) -> _Answered:
    if asked.answer.cancelled():
        return _Answered(asked.answer)
    try:
        return _Answered(asked.answer, asked.work())
    except BaseException as error:  # whatever it is, it is the caller's
        return _Answered(asked.answer, error=error)


def _hand_over(batch: Sequence[_Answered]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
        batch[0].answer.get_loop().call_soon_threadsafe(_settle, batch)


def _settle(batch: Sequence[_Answered]) -> None:
    for answer, result, error in batch:
        if answer.cancelled():
            if error is not None:
                log.info("a transaction failed after its client had gone: %s", error)
        elif error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)
