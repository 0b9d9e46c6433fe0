"""The clock of the sweep, which ignores jumps of the database's clock.

A clock that is two days ahead for a minute must not delete what has two days to
live. So the sweep uses the last time that it trusts: while the database's clock
runs as fast as the process's monotonic one, that is the current time. After a jump
of more than two minutes, in either direction, it is the time before the jump, until
the clocks agree again or the clock has run for an hour from where it jumped to.
Then the new time is trusted, as after a server was off or its machine suspended.
The state is in one row of the database, so that it survives restarts and is shared
by replicas.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from sqlalchemy.orm import Session

from modelyard_server.db.engine import now
from modelyard_server.db.tables import SweepTime
from modelyard_server.db.upserts import insert_missing
from modelyard_server.domain.runs.runs import SILENT_AFTER

LEAP = 2 * 60 * 1_000_000
"""Microseconds by which the clock may differ from the expected time."""
PAUSE = 3600 * 1_000_000
"""Microseconds that a clock must run after a jump until it is trusted."""
log = logging.getLogger(__name__)


class Times(NamedTuple):
    """The times of a sweep: `now` for expiry, `silent_before` for the last heartbeat of runs."""

    now: int
    silent_before: int


class Known(NamedTuple):
    """The shared state: the last trusted time, and the time the clock jumped to, if it did."""

    trusted: int
    leapt_to: int | None = None


class Moment(NamedTuple):
    """The database's clock and this process's monotonic one, read together, in microseconds."""

    clock: int
    monotonic: int

    def agrees_with(self, later: Moment) -> bool:
        """Whether both clocks advanced equally until `later`."""
        ahead = (later.clock - self.clock) - (later.monotonic - self.monotonic)
        return abs(ahead) <= LEAP


class SweepClock:
    """The clock of a process's sweeps, created when it starts; `started` is its monotonic clock then."""

    def __init__(self, started: int) -> None:
        self._started = started
        self._trusted: Moment | None = None
        self._last: Moment | None = None
        self.before_start: int | None = None
        """The time until which servers accepted heartbeats before this one started."""

    def read(self, session: Session, monotonic: int) -> tuple[Known, Moment]:
        """Reads the clocks, stores the new state, and returns it. Locks its row."""
        moment = Moment(now(session), monotonic)
        insert_missing(session, SweepTime, [{"id": 1, "trusted_at": 0}])
        row = session.get_one(SweepTime, 1, with_for_update=True)
        if self.before_start is None:
            self.before_start = row.trusted_at
        known = self.judge(Known(row.trusted_at, row.leapt_to) if row.trusted_at else None, moment)
        row.trusted_at, row.leapt_to = known
        return known, moment

    def note(self, known: Known, moment: Moment) -> Times:
        """Remembers a committed state and returns the times of the sweep."""
        if known.leapt_to is None:
            self._trusted = moment
        self._last = moment
        time = min(known.trusted, moment.clock)
        # A run is not silent for the time in which no server could take its heartbeat.
        waited = moment.monotonic - self._started >= SILENT_AFTER
        heard_until = time if waited else min(time, self.before_start or 0)
        return Times(time, heard_until - SILENT_AFTER)

    def judge(self, known: Known | None, moment: Moment) -> Known:
        """The state after reading the clocks."""
        fine = Known(moment.clock)
        if known is None or (self._trusted is not None and self._trusted.agrees_with(moment)):
            return fine
        leapt_to, last = known.leapt_to, self._last
        if leapt_to is None:
            if self._trusted is None and abs(moment.clock - known.trusted) <= LEAP:
                return fine
            return _leapt(known, moment)
        if self._trusted is None and known.trusted - LEAP <= moment.clock < leapt_to - LEAP:
            return fine  # the clock was corrected
        if (last is not None and not last.agrees_with(moment)) or moment.clock < leapt_to - LEAP:
            return _leapt(known, moment)
        if moment.clock < leapt_to + PAUSE:
            return known
        log.warning("the clock has run for an hour since it jumped: the sweep uses it again")
        return fine


def _leapt(known: Known, moment: Moment) -> Known:
    log.warning(
        "the database's clock is %+.0f s off the time that the last sweep expects: it was changed, or no "
        "server ran for that long. Nothing expires until the clocks agree again or an hour has passed; "
        "if it is wrong, set it by NTP",
        (moment.clock - known.trusted) / 1e6,
    )
    return Known(known.trusted, moment.clock)
