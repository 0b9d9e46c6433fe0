"""LightGBM with its callback and its summary: training, then cross-validation in a run of its own."""

import lightgbm
import numpy
import wandb
from wandb.integration.lightgbm import log_summary, wandb_callback

random = numpy.random.default_rng(0)
inputs = random.normal(size=(80, 3))
labels = (inputs @ [1.0, 2.0, 0.0] > 0).astype(int)
data = lightgbm.Dataset(inputs, labels, feature_name=["a", "b", "c"], params={"verbose": -1})
parameters = {"objective": "binary", "metric": ["binary_logloss", "auc"], "num_threads": 1, "verbose": -1}

with wandb.init(project="lightgbm", name="train"):
    model = lightgbm.train(
        parameters, data, 4, valid_sets=[data], valid_names=["validation"], callbacks=[wandb_callback()]
    )
    log_summary(model, save_model_checkpoint=True)

with wandb.init(project="lightgbm", name="cv"):
    lightgbm.cv(parameters, data, 3, nfold=2, stratified=False, callbacks=[wandb_callback(log_params=False)])
