"""Optuna's callback: one run for the study, then a run for each trial."""

import optuna
import wandb
from optuna_integration import WeightsAndBiasesCallback


def objective(trial: optuna.Trial) -> float:
    return (trial.suggest_float("x", -10, 10) - 2) ** 2


sampler = optuna.samplers.RandomSampler(seed=0)
together = WeightsAndBiasesCallback(metric_name="distance", wandb_kwargs={"project": "optuna"})
optuna.create_study(sampler=sampler).optimize(objective, n_trials=5, callbacks=[together])
wandb.finish()

each = WeightsAndBiasesCallback(wandb_kwargs={"project": "optuna-trials", "tags": ["t"]}, as_multirun=True)


@each.track_in_wandb()
def logged(trial: optuna.Trial) -> float:
    value = objective(trial)
    wandb.log({"inner": value})
    return value


optuna.create_study(study_name="s", sampler=sampler).optimize(logged, n_trials=3, callbacks=[each])
