"""Optuna's own callback for W&B."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.libraries.running import run_script, runs_of, values


def test_optuna_logs_a_study_as_one_run_and_trials_as_runs(embedded: Path) -> None:
    run_script(embedded, "optuna_callback")
    (study,) = runs_of("optuna")
    assert len(values(study, "x")) == 5
    assert values(study, "distance") == pytest.approx([(x - 2) ** 2 for x in values(study, "x")])
    assert study.config["direction"] == ["MINIMIZE"]
    trials = runs_of("optuna-trials")
    assert len(trials) == 3
    for number, trial in enumerate(trials):
        assert trial.name.startswith(f"trial/{number}/")
        assert set(trial.tags) == {"t", "s"}
        assert values(trial, "inner") == [pytest.approx((trial.config["x"] - 2) ** 2)]
