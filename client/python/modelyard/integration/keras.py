"""Keras: callbacks that log metrics, checkpoints, and tables of predictions."""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from keras.callbacks import Callback, ModelCheckpoint
from keras.ops import convert_to_numpy

import modelyard
from modelyard.artifacts.artifact import Artifact
from modelyard.host import terminal
from modelyard.session import require_run

__all__ = ["WandbEvalCallback", "WandbMetricsLogger", "WandbModelCheckpoint"]


class WandbMetricsLogger(Callback):  # type: ignore[misc]  # without types
    """Logs the metrics of `model.fit` and the learning rate to the run.

    By default after each epoch, as `epoch/<metric>` over `epoch/epoch`; with
    `log_freq="batch"` or a number after each or each n-th batch, as `batch/<metric>` over
    `batch/batch_step`, and after epochs too. `initial_global_step` is the batches trained before, for
    schedules of the learning rate that do not count them. Errors: Error without a run.
    """

    def __init__(self, log_freq: str | int = "epoch", initial_global_step: int = 0) -> None:
        super().__init__()
        self._run = require_run("WandbMetricsLogger")
        if log_freq not in {"epoch", "batch"} and (not isinstance(log_freq, int) or log_freq < 1):
            raise ValueError(f"log_freq is 'epoch', 'batch' or a number of batches, not {log_freq!r}")
        self._every = 1 if log_freq == "batch" else log_freq if isinstance(log_freq, int) else 0
        self.global_step = initial_global_step
        self.global_batch = 0
        axis = ("batch/*", "batch/batch_step") if self._every else ("epoch/*", "epoch/epoch")
        self._run.define_metric(axis[1])
        self._run.define_metric(axis[0], step_metric=axis[1])

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Logs the metrics of an epoch."""
        self._log("epoch", logs, {"epoch/epoch": epoch})

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Logs the metrics of a batch, if it is one to be logged."""
        self.global_step += 1
        if self._every and batch % self._every == 0:
            self._log("batch", logs, {"batch/batch_step": self.global_batch})
            self.global_batch += self._every

    def _log(self, prefix: str, logs: Mapping[str, Any] | None, axis: dict[str, int]) -> None:
        row = {f"{prefix}/{name}": value for name, value in (logs or {}).items()}
        rate = self._learning_rate()
        found = {} if rate is None else {f"{prefix}/learning_rate": rate}
        self._run.log({**row, **axis, **found})

    def _learning_rate(self) -> float | None:
        try:
            rate = self.model.optimizer.learning_rate
            return float(convert_to_numpy(rate(self.global_step) if callable(rate) else rate))
        except Exception as error:  # an optimizer of the user's
            terminal.warn_once("keras learning rate", f"the learning rate cannot be logged: {error}")
            return None


class WandbModelCheckpoint(ModelCheckpoint):  # type: ignore[misc]  # without types
    """Saves checkpoints as `keras.callbacks.ModelCheckpoint`, and logs each as a version.

    The artifact is `run_<run id>_model`, of type `model`, with the aliases `latest`,
    `epoch_<n>`, and after batches `epoch_<n>_batch_<m>`. Arguments are those of ModelCheckpoint. Errors:
    Error without a run.
    """

    def __init__(self, filepath: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(os.fspath(filepath), *args, **kwargs)
        self._run = require_run("WandbModelCheckpoint")
        if self.save_best_only and not any(name for _, name, *_ in Formatter().parse(self.filepath)):
            terminal.termwarn(
                "save_best_only replaces the file of the model before; a path with {epoch:02d} keeps each",
                repeat=False,
            )

    def _save_model(self, epoch: int, batch: int | None, logs: Mapping[str, Any] | None) -> None:
        logs = logs or {}
        path = Path(self._get_file_path(epoch, batch, logs))
        before = _state(path)
        super()._save_model(epoch, batch, logs)
        if _state(path) not in {None, before}:  # with save_best_only most epochs save nothing
            place = f"epoch_{epoch}" if batch is None else f"epoch_{epoch}_batch_{batch}"
            artifact = Artifact(f"run_{self._run.id}_model", type="model")
            artifact.add_file(str(path))
            self._run.log_artifact(artifact, aliases=["latest", place])


class WandbEvalCallback(Callback, abc.ABC):  # type: ignore[misc]  # without types
    """Base of callbacks that log what a model predicts, as tables in artifacts.

    `add_ground_truth` adds rows to `data_table` when the training begins, which is logged as
    the artifact `val`; `data_table_ref` is that table as it was logged.
    `add_model_predictions` adds rows to `pred_table` after each epoch, which is a version of
    `run_<run id>_pred`. Errors: Error without a run.
    """

    def __init__(self, data_table_columns: Sequence[str], pred_table_columns: Sequence[str]) -> None:
        super().__init__()
        self._run = require_run("WandbEvalCallback")
        self.data_table_columns = list(data_table_columns)
        self.pred_table_columns = list(pred_table_columns)

    @abc.abstractmethod
    def add_ground_truth(self, logs: Mapping[str, Any] | None = None) -> None:
        """Adds rows to `data_table`."""

    @abc.abstractmethod
    def add_model_predictions(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds rows to `pred_table`."""

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Makes and logs the table of the ground truth."""
        self.init_data_table(self.data_table_columns)
        self.add_ground_truth(logs)
        self.log_data_table()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Makes and logs the table of the predictions of an epoch."""
        self.init_pred_table(self.pred_table_columns)
        self.add_model_predictions(epoch, logs)
        self.log_pred_table()

    def init_data_table(self, column_names: Sequence[str]) -> None:
        """Makes an empty `data_table`."""
        self.data_table = modelyard.Table(columns=list(column_names), allow_mixed_types=True)

    def init_pred_table(self, column_names: Sequence[str]) -> None:
        """Makes an empty `pred_table`."""
        self.pred_table = modelyard.Table(columns=list(column_names))

    def log_data_table(self, name: str = "val", type: str = "dataset", table_name: str = "val_data") -> None:
        """Logs `data_table` as an artifact that the run uses, and sets `data_table_ref`."""
        artifact = Artifact(name, type=type)
        artifact.add(self.data_table, table_name)
        used = self._run.use_artifact(artifact)
        self.data_table_ref = used.get(table_name)

    def log_pred_table(
        self, type: str = "evaluation", table_name: str = "eval_data", aliases: Sequence[str] | None = None
    ) -> None:
        """Logs `pred_table` as a version of `run_<run id>_pred`."""
        artifact = Artifact(f"run_{self._run.id}_pred", type=type)
        artifact.add(self.pred_table, table_name)
        self._run.log_artifact(artifact, aliases=list(aliases or ["latest"]))


def _state(path: Path) -> tuple[int, int, int] | None:
    """Changes when the file is written."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
