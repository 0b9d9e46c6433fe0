"""Retries a start while the database or the store cannot be reached, and answers NOT_SERVING meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from modelyard.contract.streams import say
from modelyard_server.process import health, serving
from modelyard_server.rpc.dispatch.grpc_adapter import RefusingHandler
from modelyard_server.rpc.services import registration
from modelyard_server.settings import WAITS, NotReachable, Settings

T = TypeVar("T")
log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
COMMAND_SECONDS = 60.0
"""How long a command waits by default. A server waits until it is told to stop."""
_LOG_SECONDS = 60.0


def until_reachable(settings: Settings, attempt: Callable[[], T]) -> tuple[T | None, Settings]:
    """Calls `attempt` until it does not raise NotReachable; returns its result, or None after a signal.

    There is no time limit. An embedded server does not wait: its client waits
    for it. The settings are returned with the port that is bound by then.
    Raises StartError.
    """
    try:
        return attempt(), settings
    except NotReachable as error:
        if settings.embedded:
            raise
        return asyncio.run(_wait(settings, attempt, error))


def for_some_time(seconds: float, attempt: Callable[[], T]) -> T:
    """Calls `attempt` until it does not raise NotReachable, for at most `seconds`. Raises StartError."""
    deadline = time.monotonic() + seconds
    progress = _Progress()
    for pause in _pauses():
        try:
            return attempt()
        except NotReachable as error:
            if time.monotonic() + pause > deadline:
                raise
            progress.log(error)
        time.sleep(pause)
    raise AssertionError("the pauses never end")


async def _wait(
    settings: Settings, attempt: Callable[[], T], error: NotReachable
) -> tuple[T | None, Settings]:
    stopping = serving.on_signals()
    refusing = RefusingHandler(error.for_callers, but=health.SERVICE_NAME)
    server = serving.make_server(settings, None)
    server.add_generic_rpc_handlers((refusing,))
    await health.Health(server, registration.NAMES).set(serving=False)
    settings = replace(settings, port=serving.bind(server, settings))
    await server.start()
    say(f"{WAITS} for the {error.what} ({settings.location.description})")
    progress = _Progress()
    try:
        for pause in _pauses():
            progress.log(error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause)
            try:
                return await _unless(stopping, attempt), settings
            except NotReachable as latest:
                error, refusing.error = latest, latest.for_callers
    finally:
        await server.stop(0)
    raise AssertionError("the pauses never end")


async def _unless(stopping: asyncio.Event, attempt: Callable[[], T]) -> T | None:
    """The result of the attempt; None once `stopping` is set, even while the attempt still runs."""
    if stopping.is_set():
        return None
    result = _on_thread(attempt)
    stopped = asyncio.create_task(stopping.wait())
    result.add_done_callback(lambda _: stopped.cancel())
    await asyncio.wait([stopped])
    return await result if result.done() else None


def _on_thread(attempt: Callable[[], T]) -> asyncio.Future[T]:
    """Runs it on a daemon thread: the process can end while a connection takes long to fail."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if answer.cancelled():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # a T, where there is no error

    def run() -> None:
        result, error = None, None
        try:
            result = attempt()
        except BaseException as raised:  # of any kind: it is raised again where the result is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="start", daemon=True).start()
    return answer


class _Progress:
    """Logs what the start waits for: at first, when that changes, and once a minute."""

    def __init__(self) -> None:
        self._logged = ""
        self._at = 0.0

    def log(self, error: NotReachable) -> None:
        """Logs the error if it is due."""
        if str(error) != self._logged or time.monotonic() - self._at > _LOG_SECONDS:
            self._logged, self._at = str(error), time.monotonic()
            log.warning("waiting for the %s: %s", error.what, error)


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.8, 1.2)  # jitter: replicas that start together
        pause = min(2 * pause, LONGEST_PAUSE)
