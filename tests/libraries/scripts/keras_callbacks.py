"""Keras with its callbacks: metrics by epoch and by batch, checkpoints, and a table of predictions."""

import keras
import numpy
import wandb
from wandb.integration.keras import WandbEvalCallback, WandbMetricsLogger, WandbModelCheckpoint

keras.utils.set_random_seed(0)
inputs = numpy.random.default_rng(0).normal(size=(16, 3)).astype("float32")
labels = inputs.sum(axis=1, keepdims=True)


class Predictions(WandbEvalCallback):
    def add_ground_truth(self, logs=None):
        for number, label in enumerate(labels[:4, 0]):
            self.data_table.add_data(number, float(label))

    def add_model_predictions(self, epoch, logs=None):
        predicted = self.model.predict(inputs[:4], verbose=0)[:, 0]
        for number in self.data_table_ref.get_index():
            row = self.data_table_ref.data[number]
            self.pred_table.add_data(epoch, *row, float(predicted[number]))


def train(*callbacks, schedule=False):
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 4, 0.5) if schedule else 0.1
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), loss="mse", metrics=["mae"])
    model.fit(
        inputs, labels, batch_size=4, epochs=2, validation_data=(inputs, labels), verbose=0,
        callbacks=list(callbacks),
    )  # fmt: skip


with wandb.init(project="keras", name="epochs"):
    train(
        WandbMetricsLogger(),
        WandbModelCheckpoint("models/{epoch:02d}.keras"),
        Predictions(["number", "label"], ["epoch", "number", "label", "predicted"]),
    )

with wandb.init(project="keras", name="batches"):
    never = WandbModelCheckpoint("best.keras", save_best_only=True, initial_value_threshold=0.0)
    train(WandbMetricsLogger(log_freq=2), never, schedule=True)
