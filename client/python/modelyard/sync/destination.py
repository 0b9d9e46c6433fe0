"""Where rows and fields of a run go, and which refusals are for good."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from modelyard.contract import errors


@dataclass
class Destination:
    """An attempt of a run: the run's global id, the attempt's number, whether what is sent is late."""

    run_id: str
    attempt: int
    late: bool = False


def is_refusal(error: Exception) -> bool:
    """Whether sending the same again would be refused again."""
    return isinstance(error, errors.CommError) and (
        error.code == errors.InvalidField.code or isinstance(error, errors.QuotaExceeded)
    )


@dataclass(frozen=True)
class RunStatus:
    """How much of what a process logged is sent. Items are rows."""

    sync_items_total: int = 0
    sync_items_pending: int = 0
    sync_time: datetime.datetime | None = None
    """When all of it was sent last, UTC; None: not known."""
