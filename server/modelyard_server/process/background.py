"""What a server does because a time has come: versions and requests past it go, silent runs have crashed.

Any number of replicas may sweep at once. Each step is a short transaction that
skips what others hold; what one leaves, the next finds. What has a time is
judged by `SweepClock`, which a leap of the clock does not move.
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
from modelyard_server.domain.content import uploads
from modelyard_server.domain.registry import deletes
from modelyard_server.domain.runs import runs
from modelyard_server.domain.sweep_clock import SweepClock, Times
from modelyard_server.rpc.dispatch.transactions import Transactions

T = TypeVar("T")
FIRST_SECONDS = 1.0
"""The first sweep comes soon, since an embedded server may not run for a whole period."""
log = logging.getLogger(__name__)


async def sweep_forever(transactions: Transactions, seconds: float) -> None:
    """Sweeps about every `seconds`, not in step with other replicas, until it is cancelled."""
    clock = SweepClock(_monotonic())
    await asyncio.sleep(min(FIRST_SECONDS, seconds))
    while True:
        try:
            await sweep(transactions, await _times(transactions, clock))
        except errors.CommError as error:
            log.warning("the sweep goes on later: %s", error)
        except Exception:
            log.exception("the sweep goes on later")
        # The allocator keeps memory for large messages; an idle server returns it.
        await asyncio.to_thread(allocator.give_back)
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))


async def sweep(transactions: Transactions, times: Times | None = None) -> None:
    """Does all there is to do by these times, by default by the clock.

    Raises what the first failed step did, after the others.
    """
    silent_before = times.silent_before if times else None
    steps: list[tuple[Callable[[Session], int], int]] = [
        (requests.forget_old, requests.SWEEP_BATCH),
        (functools.partial(runs.crash_silent, before=silent_before), runs.SWEEP_BATCH),
        (uploads.clear_ended, uploads.SWEEP_BATCH),
        (deletes.remove_manifests, deletes.SWEEP_BATCH),
    ]
    for artifact_id in await transactions.read(_by(times, deletes.artifacts_past_time)):
        past_time = functools.partial(deletes.delete_past_time, artifact_id=artifact_id)
        steps.append((past_time, deletes.SWEEP_BATCH))
    failures = []
    for step, batch in steps:
        try:
            while await transactions.write(_by(times, step)) == batch:
                pass
        except Exception as error:  # an error with one artifact must not stop the others
            failures.append(error)
    if failures:
        raise failures[0]


async def _times(transactions: Transactions, clock: SweepClock) -> Times:
    known, moment = await transactions.write(lambda session: clock.read(session, _monotonic()))
    return clock.note(known, moment)


def _by(times: Times | None, step: Callable[[Session], T]) -> Callable[[Session], T]:
    """The step, for which it is the time to sweep by."""

    def at_that_time(session: Session) -> T:
        if times is not None:
            set_now(session, times.now)
        return step(session)

    return at_that_time


def _monotonic() -> int:
    return time.monotonic_ns() // 1000
