"""Collects in the background of a server: a little at a time, so that calls are not held up."""

from __future__ import annotations

import asyncio
import logging
import random
import time

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.collecting.collector import Collector, Step
from modelyard_server.collecting.rules import Rules
from modelyard_server.db.engine import Database, now
from modelyard_server.db.tables import SweepTime
from modelyard_server.packs.confirmed import ConfirmedPacks

FIRST_SECONDS = 20.0
"""Delay of the first slice, so that it does not slow down the start of a training."""
SLICE_SECONDS = 1.0
"""About the longest time that one slice works."""
REST = 100
"""How many times as long as it took to its end a step rests: one that reads large tables rests for long."""
REST_SECONDS = {"strays": 24 * 3600.0}
"""The least rest of a step that lists the whole store."""
_BY_SWEEP = ("deleted", "uploads")
log = logging.getLogger(__name__)


class BackgroundCollector:
    """Runs the steps of a collector in slices; a step goes on where it was left."""

    def __init__(self, database: Database, confirmed: ConfirmedPacks, retention: int) -> None:
        self._database = database
        self._collector = Collector(database, confirmed, Rules(retention=retention, time=lambda: self._time))
        self._steps = {
            name: begin for name, begin in self._collector.steps().items() if name not in _BY_SWEEP
        }
        self._running: dict[str, Step] = {}
        self._worked: dict[str, float] = {}
        self._rests_until: dict[str, float] = {}
        self._is_stopping = False
        self._time = 0

    async def run_forever(self, seconds: float) -> None:
        """Runs a slice about every `seconds`, with jitter against other replicas, until it is cancelled."""
        await asyncio.sleep(min(FIRST_SECONDS, seconds))
        try:
            while True:
                await asyncio.to_thread(self.run_slice)
                await asyncio.sleep(seconds * random.uniform(0.8, 1.2))
        finally:
            self._is_stopping = True

    def run_slice(self, seconds: float = SLICE_SECONDS) -> None:
        """Gives each step that is due its share of the time, at least one piece of work. Never raises."""
        for name in self._steps:
            if time.monotonic() < self._rests_until.get(name, 0.0):
                continue
            try:
                self._time = self._database.read(_trusted_time)
                if self._time:
                    self._run(name, seconds / len(self._steps))
            except errors.CommError as error:  # go on: a full disk must not keep others from making room
                log.warning("collecting %s failed and will be repeated: %s", name, error)
            except Exception:
                log.exception("collecting %s failed and will be repeated", name)
        if done := self._collector.take_totals():
            log.info("collected: %s", done)

    def _run(self, name: str, seconds: float) -> None:
        """Runs a step for so long. One that fails begins anew in a later slice."""
        step = self._running.pop(name, None) or self._steps[name]()
        begin = time.monotonic()
        for _ in step:
            if self._is_stopping or time.monotonic() >= begin + seconds:
                self._running[name] = step
                break
        worked = self._worked.pop(name, 0.0) + time.monotonic() - begin
        if name in self._running:
            self._worked[name] = worked
        else:
            rest = max(REST * worked, REST_SECONDS.get(name, 0.0))
            self._rests_until[name] = time.monotonic() + rest


def _trusted_time(session: Session) -> int:
    """The time that the sweep trusts, which does not follow jumps of the clock; 0 before the first sweep."""
    trusted = session.scalar(select(SweepTime.trusted_at))
    return min(trusted or 0, now(session))
