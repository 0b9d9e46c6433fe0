"""The argument why a committed version cannot be lost, by a search of all states of a small model."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import fields

import pytest

from tests.faults.pack_model import NONE, Rules, State, search


@pytest.fixture(scope="module")
def reached() -> Set[State]:
    """Every state of the model that keeps all rules, in each of which all promises hold."""
    states, broken = search(Rules())
    assert broken == []
    return states


def test_no_order_of_steps_loses_a_committed_version(reached: Set[State]) -> None:
    assert len(reached) > 10_000


def test_the_model_logs_versions_and_gives_space_back(reached: Set[State]) -> None:
    both = [state for state in reached if all(one.acknowledged for one in state.uploaders)]
    assert {one.version for state in both for one in state.uploaders} == {0, 1}
    assert any(not any(one.deleted for one in state.uploaders) for state in both)
    assert any(
        state.chunk == NONE
        and {pack.state for pack in state.packs} == {"gone"}
        and {one.state for one in state.objects} == {"absent"}
        for state in both
    )


@pytest.mark.parametrize("safeguard", [field.name for field in fields(Rules)])
def test_without_a_safeguard_a_way_to_a_loss_is_found(safeguard: str) -> None:
    _, broken = search(Rules(**{safeguard: False}))
    assert broken, f"nothing breaks without {safeguard}"
    print("\n".join(broken))
