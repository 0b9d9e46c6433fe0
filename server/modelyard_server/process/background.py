"""Periodic clean-up: what has expired, ended or was deleted, and runs without a heartbeat.

Any number of replicas may sweep at once. Each step is a short transaction that
skips rows locked by others; what one replica leaves, the next sweep finds.
Expiry is judged by `SweepClock`, which does not follow jumps of the clock.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.host import allocator
from modelyard_server.db.engine import set_now
from modelyard_server.domain import requests
from modelyard_server.domain.access import sessions
from modelyard_server.domain.content import uploads
from modelyard_server.domain.registry import deletes
from modelyard_server.domain.runs import removals, runs
from modelyard_server.domain.sweep_clock import SweepClock, Times
from modelyard_server.process.metric_packing import pack_due
from modelyard_server.rpc.dispatch.transactions import Transactions

T = TypeVar("T")
FIRST_SECONDS = 1.0
"""Delay of the first sweep. It is short, since an embedded server may stop before a whole period."""
log = logging.getLogger(__name__)


async def sweep_forever(transactions: Transactions, seconds: float) -> None:
    """Sweeps about every `seconds`, with jitter against other replicas, until it is cancelled."""
    clock = SweepClock(_monotonic())
    await asyncio.sleep(min(FIRST_SECONDS, seconds))
    while True:
        try:
            await sweep(transactions, await _times(transactions, clock))
        except errors.CommError as error:
            log.warning("a sweep failed and will be repeated: %s", error)
        except Exception:
            log.exception("a sweep failed and will be repeated")
        # The allocator keeps freed memory for the next large messages; an idle server should return it.
        await asyncio.to_thread(allocator.give_back)
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))


async def sweep(transactions: Transactions, times: Times | None = None) -> None:
    """Runs every step, as of `times` or of the current time.

    Raises the error of the first step that failed, after all others have run.
    """
    silent_before = times.silent_before if times else None
    steps: list[tuple[Callable[[Session], int], int]] = [
        (requests.delete_old, requests.SWEEP_BATCH),
        (sessions.delete_ended, sessions.SWEEP_BATCH),
        (functools.partial(runs.mark_silent_crashed, before=silent_before), runs.SWEEP_BATCH),
        (uploads.delete_ended, uploads.SWEEP_BATCH),
        (deletes.remove_contents, deletes.SWEEP_BATCH),
        (removals.remove_waiting, removals.SWEEP_BATCH),
    ]
    for artifact_id in await transactions.read(_as_of(times, deletes.artifacts_with_expired)):
        past_time = functools.partial(deletes.delete_expired, artifact_id=artifact_id)
        steps.append((past_time, deletes.SWEEP_BATCH))
    failures = []
    for step, batch in steps:
        try:
            while await transactions.write(_as_of(times, step)) == batch:
                pass
        except Exception as error:  # go on: one failing artifact must not keep the others from being swept
            failures.append(error)
    try:
        await pack_due(transactions)
    except Exception as error:
        failures.append(error)
    if failures:
        raise failures[0]


async def _times(transactions: Transactions, clock: SweepClock) -> Times:
    known, moment = await transactions.write(lambda session: clock.read(session, _monotonic()))
    return clock.note(known, moment)


def _as_of(times: Times | None, step: Callable[[Session], T]) -> Callable[[Session], T]:
    """The step, with the session's time set to the one to sweep by."""

    def at_that_time(session: Session) -> T:
        if times is not None:
            set_now(session, times.now)
        return step(session)

    return at_that_time


def _monotonic() -> int:
    return time.monotonic_ns() // 1000
