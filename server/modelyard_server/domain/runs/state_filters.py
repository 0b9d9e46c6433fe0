"""The state of runs that replies show, in filters and orders: a running one that is silent has crashed.

The conditions compare the stored state alone, so that an index serves them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, or_, select

from modelyard.contract.values import RUN_STATES
from modelyard_server.db.tables import Run
from modelyard_server.domain import events
from modelyard_server.domain.runs.runs import CRASHED, RUNNING
from modelyard_server.domain.search.filter_fields import Candidates, Comparison, Indexed, Word

_ID: ColumnElement[Any] = Run.id.expression


def in_state(word: str, silent_before: int) -> ColumnElement[bool]:
    """The condition of runs in a state, if those crashed whose last heartbeat was before that time."""
    stored: ColumnElement[bool] = Run.state == word
    if word == RUNNING:
        return and_(stored, Run.heartbeat_at >= silent_before)
    if word == CRASHED:
        # Both words first: an index serves them, and the rest is looked at.
        return and_(Run.state.in_([CRASHED, RUNNING]), or_(stored, Run.heartbeat_at < silent_before))
    return stored


def state_at(silent_before: int) -> ColumnElement[str]:
    """The state as a value, for orders in which it does not come first."""
    return case((in_state(CRASHED, silent_before), CRASHED), else_=Run.state)


def state_field(inside: ColumnElement[bool], silent_before: int) -> Indexed:
    """The field `state`; `inside` restricts runs to the scope."""
    state = _State(Run.state, RUN_STATES, events.RUN_STATE_PREFIX, silent_before)
    return Indexed(state, _StateIndex(state, inside))


@dataclass(frozen=True)
class _State(Word):
    silent_before: int = 0

    def equals(self, word: str) -> ColumnElement[bool]:
        return in_state(word, self.silent_before)


@dataclass(frozen=True)
class _StateIndex:
    state: _State
    inside: ColumnElement[bool]

    def candidates(self, comparison: Comparison) -> Candidates | None:
        if comparison.operator != "=":
            return None
        live = select(Run.id).where(self.inside, Run.deleted_at.is_(None))
        return Candidates(_ID, live.where(self.state.equals(self.state.word(comparison))))

    def condition(self, comparison: Comparison, checked: ColumnElement[bool]) -> None:
        """Returns None: there is no cheaper condition."""
