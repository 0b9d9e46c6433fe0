"""XGBoost with its callback: training with early stopping, then cross-validation in a run of its own."""

import numpy
import wandb
import xgboost
from wandb.integration.xgboost import WandbCallback

random = numpy.random.default_rng(0)
inputs = random.normal(size=(80, 3))
data = xgboost.DMatrix(inputs, label=inputs @ [1.0, 2.0, 0.0], feature_names=["a", "b", "c"])
parameters = {"max_depth": 2, "eval_metric": ["mae", "rmse"], "nthread": 1}

with wandb.init(project="xgboost", name="train"):
    xgboost.train(
        parameters, data, 5, evals=[(data, "train")], early_stopping_rounds=2, verbose_eval=False,
        callbacks=[WandbCallback(log_model=True)],
    )  # fmt: skip

with wandb.init(project="xgboost", name="further"):
    first = xgboost.train(parameters, data, 2)
    xgboost.train(
        parameters, data, 2, xgb_model=first, evals=[(data, "train")], verbose_eval=False,
        callbacks=[WandbCallback()],
    )  # fmt: skip

with wandb.init(project="xgboost", name="cv"):
    xgboost.cv(parameters, data, 3, nfold=2, callbacks=[WandbCallback()])
