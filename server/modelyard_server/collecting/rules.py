"""When something is deleted: the ages, and the part of a pack that may be dead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelyard_server.settings import RETENTION, parse_duration

MINUTE = 60 * 1_000_000
UNFINISHED = 10 * MINUTE
"""Microseconds after which a pack that is still being written counts as abandoned. A PUT takes seconds."""
GONE_KEPT = 7 * 24 * 60 * MINUTE
"""Microseconds that the row of a pack is kept after its object was deleted."""
HALF = 0.5
TENTH = 1 / 11
"""The dead part of packs of which at most a tenth more is stored than is needed."""


@dataclass(frozen=True)
class Rules:
    """Ages are in microseconds.

    `retention` is how long the object of a pack is kept after nothing needs it any
    more, `unfinished` how long a pack may take to be written, `dead` the part of a pack
    that may be dead before it is rewritten. `time` replaces the database's clock.
    """

    retention: int = parse_duration(RETENTION)
    unfinished: int = UNFINISHED
    dead: float = HALF
    time: Callable[[], int] | None = None

    def is_mostly_dead(self, size: int, used: int) -> bool:
        """Whether a pack of this size should be rewritten, of which so many bytes are needed."""
        return 0 < used < size * (1 - self.dead)
