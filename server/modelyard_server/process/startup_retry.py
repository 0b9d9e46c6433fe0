"""A start while database or store are away: the server waits, says for what, and answers NOT_SERVING."""

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
"""How long a command waits unless it is told otherwise; a server does so until it is told to stop."""
_SAY_SECONDS = 60.0


def until_reachable(settings: Settings, attempt: Callable[[], T]) -> tuple[T | None, Settings]:
    """What `attempt` returns once it does not raise NotReachable; None when a signal came first.

    A server waits as long as it takes, an embedded one not at all: its client
    waits for it. The settings come back with the port that is taken by then.
    Raises StartError.
    """
    try:
        return attempt(), settings
    except NotReachable as away:
        if settings.embedded:
            raise
        return asyncio.run(_wait(settings, attempt, away))


def for_some_time(seconds: float, attempt: Callable[[], T]) -> T:
    """The same for a command: gives up at last, and has no server meanwhile. Raises StartError."""
    deadline = time.monotonic() + seconds
    telling = _Telling()
    for pause in _pauses():
        try:
            return attempt()
        except NotReachable as away:
            if time.monotonic() + pause > deadline:
                raise
            telling.of(away)
        time.sleep(pause)
    raise AssertionError("the pauses never end")


async def _wait(
    settings: Settings, attempt: Callable[[], T], away: NotReachable
) -> tuple[T | None, Settings]:
    ending = serving.on_signals()
    refusing = RefusingHandler(away.error, but=health.SERVICE_NAME)
    server = serving.make_server(settings, None)
    server.add_generic_rpc_handlers((refusing,))
    await health.Health(server, registration.NAMES).set(serving=False)
    settings = replace(settings, port=serving.bind(server, settings))
    await server.start()
    say(f"{WAITS} for the {away.what} ({settings.location.description})")
    telling = _Telling()
    try:
        for pause in _pauses():
            telling.of(away)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), pause)
            try:
                return await _unless(ending, attempt), settings
            except NotReachable as still:
                away, refusing.error = still, still.error
    finally:
        await server.stop(0)
    raise AssertionError("the pauses never end")


async def _unless(ending: asyncio.Event, attempt: Callable[[], T]) -> T | None:
    """The result of the attempt; None once `ending` is set, while the attempt may go on for nobody."""
    if ending.is_set():
        return None
    trying = _on_thread(attempt)
    ended = asyncio.create_task(ending.wait())
    trying.add_done_callback(lambda _: ended.cancel())
    await asyncio.wait([ended])
    return await trying if trying.done() else None


def _on_thread(attempt: Callable[[], T]) -> asyncio.Future[T]:
    """Runs it on a thread that does not keep the process: a connection may take its time to fail."""
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
        except BaseException as raised:  # whatever it is, it is the waiter's
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="start", daemon=True).start()
    return answer


class _Telling:
    """Says in the log what is waited for: at first, when that changes, and once a minute."""

    def __init__(self) -> None:
        self._said = ""
        self._at = 0.0

    def of(self, away: NotReachable) -> None:
        """Logs it, if it is time."""
        if str(away) != self._said or time.monotonic() - self._at > _SAY_SECONDS:
            self._said, self._at = str(away), time.monotonic()
            log.warning("waiting for the %s: %s", away.what, away)


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.8, 1.2)  # replicas that start together do not ask together
        pause = min(2 * pause, LONGEST_PAUSE)
