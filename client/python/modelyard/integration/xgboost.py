"""XGBoost: logs metrics, the configuration, the importance of features, and the model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xgboost.callback import TrainingCallback

from modelyard.artifacts.artifact import Artifact
from modelyard.integration import boosting
from modelyard.session import require_run


class WandbCallback(TrainingCallback):  # type: ignore[misc]  # without types
    """Logs the training of a booster to the run: `callbacks=[WandbCallback()]`.

    The booster's configuration goes to `config`. Each round is a row with `epoch` and
    `<data>-<metric>`; in `xgboost.cv` that is the mean, and `<data>-<metric>-std` its deviation.
    With `define_metric` the summary keeps the best value of known metrics. At the end the
    best score and round are logged, with `log_feature_importance` a bar chart (`importance_type`:
    weight, gain, cover, total_gain or total_cover), with `log_model` the model as the
    artifact `<run id>_model.json`. Errors: Error without a run.
    """

    def __init__(
        self,
        log_model: bool = False,
        log_feature_importance: bool = True,
        importance_type: str = "gain",
        define_metric: bool = True,
    ) -> None:
        super().__init__()
        self.log_model = log_model
        self.log_feature_importance = log_feature_importance
        self.importance_type = importance_type
        self.define_metric = define_metric
        self._run = require_run("WandbCallback")

    def before_training(self, model: Any) -> Any:
        """Adds the booster's configuration to the config; the folds of `xgboost.cv` have none."""
        if hasattr(model, "save_config"):
            self._run.config.update(json.loads(model.save_config()), allow_val_change=True)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Any]) -> bool:
        """Logs the values of a round; never stops the training."""
        row: dict[str, float] = {"epoch": epoch}
        for data, metrics in evals_log.items():
            for metric, values in metrics.items():
                name, last = f"{data}-{metric}", values[-1]
                if epoch == 0 and self.define_metric:
                    boosting.keep_best(self._run, name, metric)
                if isinstance(last, Sequence):
                    row[name], row[f"{name}-std"] = last
                else:
                    row[name] = last
        self._run.log(row)
        return False

    def after_training(self, model: Any) -> Any:
        """Logs the model, its features and its best round, as far as it is asked for."""
        if hasattr(model, "save_model"):
            if self.log_model:
                self._log_model(model)
            if self.log_feature_importance:
                scores = model.get_score(importance_type=self.importance_type)
                self._run.log(boosting.importance_chart(scores.items()))
            if model.attr("best_score") is not None:
                best = {"best_score": float(model.attr("best_score"))}
                self._run.log({**best, "best_iteration": int(model.attr("best_iteration"))})
        return model

    def _log_model(self, model: Any) -> None:
        name = f"{self._run.id}_model.json"
        path = Path(self._run.dir) / name
        model.save_model(str(path))
        artifact = Artifact(name, type="model")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)


def wandb_callback() -> Callable[[Any], None]:
    """The callback of XGBoost before 1.3; use WandbCallback."""
    warnings.warn("use WandbCallback in place of wandb_callback", UserWarning, stacklevel=2)
    run = require_run("wandb_callback")

    def callback(env: Any) -> None:
        run.log(dict(env.evaluation_result_list))

    return callback
