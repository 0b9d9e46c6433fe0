"""Earlier attempts of runs: kept when the next one begins, and found."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db import bounded
from modelyard_server.db.tables import Run, RunAttempt, RunFields
from modelyard_server.domain.access import owners

_FIELDS = sorted(set(RunFields.__annotations__))


def keep(session: Session, run: Run, state: str) -> None:
    """Stores the fields that the run has now as those of an attempt that ended in `state`."""
    values = {name: getattr(run, name) for name in _FIELDS} | {"state": state}
    session.add(RunAttempt(run_id=run.id, attempt=run.attempt, **values))


def find(session: Session, run: Run, attempt: int | None) -> RunAttempt | None:
    """An earlier attempt of a run; None for the latest. Raises NotFound, InvalidField."""
    if attempt is None or attempt == run.attempt:
        return None
    if attempt < 1:
        raise errors.InvalidField.of("attempt", f"is {attempt}; the first attempt is 1")
    row = session.get(RunAttempt, (run.id, attempt)) if attempt < run.attempt else None
    if row is None:
        raise owners.not_found("attempt", f"{attempt} of the run {run.run_id}, which has {run.attempt}")
    return row


def between(session: Session, run: Run, first: int, last: int) -> Sequence[RunAttempt]:
    """The earlier attempts of a run from number `first` to `last`, latest first."""
    own = (RunAttempt.run_id == run.id, RunAttempt.attempt.between(first, last))
    return session.scalars(select(RunAttempt).where(*own).order_by(RunAttempt.attempt.desc())).all()


def remove_some(session: Session, run_id: str, limit: int) -> int:
    """Removes at most `limit` earlier attempts of a run, and returns their number."""
    return bounded.delete_some(session, RunAttempt, RunAttempt.run_id == run_id, limit=limit)
