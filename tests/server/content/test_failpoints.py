"""Failpoints: what their settings may say, and when they act."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelyard_server import failpoints


@pytest.mark.parametrize(
    "settings",
    [
        "nowhere=kill",
        "commit.before",
        "commit.before=explode",
        "commit.before=sleep",
        "commit.before=error(NOPE)",
    ],
)
def test_invalid_settings_of_failpoints_are_refused(settings: str) -> None:
    with pytest.raises(ValueError, match="MODELYARD_FAILPOINTS"):
        failpoints.arm_from({"MODELYARD_FAILPOINTS": settings})


def test_a_failpoint_acts_at_its_nth_hit_only(armed: Callable[[str], None]) -> None:
    armed("commit.before=error@2; commit.after=sleep(0)")
    failpoints.hit("commit.before")
    with pytest.raises(failpoints.FailpointError):
        failpoints.hit("commit.before")
    failpoints.hit("commit.before")
    failpoints.hit("commit.after")
    assert failpoints.hits("commit.before") == 3
    with pytest.raises(ValueError, match="nowhere"):
        failpoints.hit("nowhere")
