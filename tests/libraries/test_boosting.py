"""XGBoost and LightGBM, with the callbacks of `modelyard.integration`."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard import Api
from tests.libraries.running import run_script, runs_of, values


def test_xgboost_logs_rounds_the_best_of_them_its_configuration_and_its_model(embedded: Path) -> None:
    run_script(embedded, "xgboost_callback")
    trained, further, folds = runs_of("xgboost")
    assert values(trained, "epoch") == [0, 1, 2, 3, 4]
    errors = values(trained, "train-rmse")
    assert len(errors) == 5
    assert errors == sorted(errors, reverse=True)
    assert trained.summary["train-rmse"] == {"min": errors[-1]}
    assert trained.summary["best_iteration"] == 4
    assert trained.summary["best_score"] == pytest.approx(errors[-1], abs=1e-4)
    assert trained.config["learner"]["learner_model_param"]["num_feature"] == "3"
    assert trained.summary["Feature Importance_table"]["nrows"] == 2
    (model,) = trained.logged_artifacts()
    assert (model.name, model.type) == (f"{trained.id}_model.json:v0", "model")
    assert values(further, "epoch") == [0, 1]
    assert further.summary["train-rmse"] == {"min": values(further, "train-rmse")[-1]}
    assert len(values(folds, "test-rmse")) == len(values(folds, "test-rmse-std")) == 3


def test_lightgbm_logs_rounds_the_best_of_them_its_parameters_and_its_model(embedded: Path) -> None:
    run_script(embedded, "lightgbm_callback")
    trained, folds = runs_of("lightgbm")
    assert values(trained, "iteration") == [0, 1, 2, 3]
    losses = values(trained, "validation_binary_logloss")
    assert trained.summary["validation_binary_logloss"] == {"min": min(losses)}
    assert trained.summary["validation_auc"] == {"max": max(values(trained, "validation_auc"))}
    assert trained.summary["best_score"]["validation"]["binary_logloss"] == losses[-1]
    assert trained.config["objective"] == "binary"
    assert "objective" not in folds.config
    assert trained.summary["Feature Importance_table"]["nrows"] == 3
    (model,) = trained.logged_artifacts()
    assert model.name == f"model_{trained.id}:v0"
    assert set(model.aliases) == {"best", "latest"}
    assert Api().artifact(f"lightgbm/model_{trained.id}:best").file_count == 1
    means = values(folds, "valid_binary_logloss-mean")
    assert len(means) == len(values(folds, "valid_binary_logloss-stdv")) == 3
    assert folds.summary["valid_binary_logloss-mean"] == {"min": min(means)}
