"""What a server does because a time has come: versions and requests past it go, silent runs have crashed.

Any number of replicas may sweep at once. Each step is a short transaction that
skips what others hold; what one leaves, the next finds.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Callable

from sqlalchemy.orm import Session

from modelyard import allocator, errors
from modelyard_server.domain import deletes, requests, runs, uploads
from modelyard_server.rpc.pools import Transactions

FIRST_SECONDS = 1.0
"""An embedded server may not live for a whole period, so the first sweep comes soon."""
log = logging.getLogger(__name__)


async def sweep_forever(transactions: Transactions, seconds: float) -> None:
    """Sweeps about every `seconds`, not in step with other replicas, until it is cancelled."""
    await asyncio.sleep(min(FIRST_SECONDS, seconds))
    while True:
        try:
            await sweep(transactions)
        except errors.CommError as error:
            log.warning("the sweep goes on later: %s", error)
        except Exception:
            log.exception("the sweep goes on later")
        # Much is kept for the next large messages; a quiet server should not hold it for days.
        await asyncio.to_thread(allocator.give_back)
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))


async def sweep(transactions: Transactions) -> None:
    """Does all there is to do now. Raises what the first failed step did, after the others."""
    steps: list[tuple[Callable[[Session], int], int]] = [
        (requests.forget_old, requests.SWEEP_BATCH),
        (runs.crash_silent, runs.SWEEP_BATCH),
        (uploads.clear_ended, uploads.SWEEP_BATCH),
        (deletes.remove_manifests, deletes.SWEEP_BATCH),
    ]
    for artifact_id in await transactions.read(deletes.artifacts_past_time):
        past_time = functools.partial(deletes.delete_past_time, artifact_id=artifact_id)
        steps.append((past_time, deletes.SWEEP_BATCH))
    failures = []
    for step, batch in steps:
        try:
            while await transactions.write(step) == batch:
                pass
        except Exception as error:  # one artifact in trouble must not keep the others from their turn
            failures.append(error)
    if failures:
        raise failures[0]
