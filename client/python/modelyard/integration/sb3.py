"""Stable-Baselines3: logs the parameters of a model, and saves it while it learns."""

from __future__ import annotations

import os
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback

from modelyard.host import terminal
from modelyard.session import require_run

_WATCHED = {"gradients", "parameters", "all", None}


class WandbCallback(BaseCallback):  # type: ignore[misc]  # without types
    """Logs to the run what a model was made with: `model.learn(…, callback=WandbCallback())`.

    Metrics come from `init(sync_tensorboard=True)` and the model's `tensorboard_log`. With
    `model_save_path` the model is saved as `model.zip` in that folder, every
    `model_save_freq` steps and at the end, and sent as a file of the run. `gradient_save_freq` and
    `log` (gradients, parameters, all) are those of `watch`. Errors: Error without a run, ValueError
    for `model_save_freq` without a path.
    """

    def __init__(
        self,
        verbose: int = 0,
        model_save_path: str | os.PathLike[str] | None = None,
        model_save_freq: int = 0,
        gradient_save_freq: int = 0,
        log: str | None = "all",
    ) -> None:
        super().__init__(verbose)
        if model_save_path is None and model_save_freq:
            raise ValueError("model_save_freq needs model_save_path, the folder to save the model in")
        if log not in _WATCHED:
            terminal.termwarn(f"log is gradients, parameters, all or None, not {log!r}; all is taken")
            log = "all"
        self._run = require_run("WandbCallback")
        self._folder = None if model_save_path is None else Path(model_save_path)
        self.model_save_freq = model_save_freq
        self.gradient_save_freq = gradient_save_freq
        self.log = log
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)

    def _init_callback(self) -> None:
        found = {"algo": type(self.model).__name__}
        for name, value in vars(self.model).items():
            found[name] = value if type(value) in {float, int, str} else str(value)
        self._run.config.setdefaults(found)
        if self.gradient_save_freq > 0:
            self._run.watch(self.model.policy, log=self.log, log_freq=self.gradient_save_freq)

    def _on_step(self) -> bool:
        if self.model_save_freq > 0 and self.n_calls % self.model_save_freq == 0:
            self.save_model()
        return True

    def _on_training_end(self) -> None:
        self.save_model()

    def save_model(self) -> None:
        """Saves the model and sends it; does nothing without a folder to save it in."""
        if self._folder is None:
            return
        path = self._folder / "model.zip"
        self.model.save(path)
        self._run.save(path, base_path=self._folder)
        if self.verbose > 1:
            terminal.termlog(f"Saved the model to {path}")
