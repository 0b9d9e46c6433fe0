"""LightGBM: logs metrics, parameters, the importance of features, and the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightgbm import Booster

from modelyard.artifacts.artifact import Artifact
from modelyard.contract import errors
from modelyard.integration import boosting
from modelyard.runs.run import Run
from modelyard.session import require_run


def wandb_callback(log_params: bool = True, define_metric: bool = True) -> _Callback:
    """A callback that logs the training to the run: `callbacks=[wandb_callback()]`.

    Each round is a row with `iteration` and `<data>_<metric>`; in `lightgbm.cv` that is
    `<data>_<metric>-mean` and `-stdv`. With `log_params` the parameters go to `config`, with
    `define_metric` the summary keeps the best value of known metrics. Errors: Error without a run.
    """
    return _Callback(log_params, define_metric)


class _Callback:
    """As LightGBM calls it, after each round."""

    order = 20
    before_iteration = False

    def __init__(self, log_params: bool, define_metric: bool) -> None:
        self._log_params = log_params
        self._define_metric = define_metric
        self._run = require_run("wandb_callback")

    def __call__(self, env: Any) -> None:
        if env.iteration == env.begin_iteration:
            self._begin(env)
        row = {name: value for name, _, value in _values(env)}
        self._run.log({**row, "iteration": env.iteration})

    def _begin(self, env: Any) -> None:
        if self._log_params:
            self._run.config.update(env.params, allow_val_change=True)
        if self._define_metric:
            for name, metric, _ in _values(env):
                boosting.keep_best(self._run, name, metric)


def log_summary(model: Booster, feature_importance: bool = True, save_model_checkpoint: bool = False) -> None:
    """Adds `best_iteration` and `best_score` to the summary, after the training.

    Logs a bar chart of the importance of features, and with `save_model_checkpoint` the best model
    as the artifact `model_<run id>` with the alias `best`. Errors: Error without a run, and for what is
    not a Booster.
    """
    run = require_run("log_summary")
    if not isinstance(model, Booster):
        raise errors.Error(f"log_summary takes a lightgbm.Booster, not {type(model).__name__}")
    run.summary["best_iteration"] = model.best_iteration
    run.summary["best_score"] = {data: dict(scores) for data, scores in model.best_score.items()}
    if feature_importance:
        found = zip(model.feature_name(), model.feature_importance(), strict=True)
        run.log(boosting.importance_chart((feature, float(importance)) for feature, importance in found))
    if save_model_checkpoint:
        _log_model(run, model)


def _log_model(run: Run, model: Booster) -> None:
    path = Path(run.dir) / f"model_ckpt_{model.best_iteration}.txt"
    model.save_model(str(path), num_iteration=model.best_iteration)
    artifact = Artifact(f"model_{run.id}", type="model")
    artifact.add_file(str(path))
    run.log_artifact(artifact, aliases=["best"])


def _values(env: Any) -> Iterator[tuple[str, str, float]]:
    """The name, metric and value of each result of a round."""
    for data, metric, value, _, *deviation in env.evaluation_result_list or ():
        if data == "cv_agg":  # LightGBM before 4.6 gives data and metric as one text
            data, _, metric = metric.partition(" ")
        if deviation and deviation[0] is not None:
            yield f"{data}_{metric}-mean", metric, value
            yield f"{data}_{metric}-stdv", "", deviation[0]
        else:
            yield f"{data}_{metric}", metric, value
