"""Trains a network in NumPy, logs its metrics, and keeps a checkpoint of each epoch to resume from."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from spirals import Array, points

import modelyard
from modelyard import errors

HIDDEN = 64
BATCH = 100


def main() -> None:
    """Trains from the last checkpoint of the run, if it has one, to the last epoch."""
    options = argparse.ArgumentParser()
    options.add_argument("--id", required=True, help="id of the run; the same id resumes it")
    options.add_argument("--lr", type=float, default=0.02)
    options.add_argument("--epochs", type=int, default=30)
    args = options.parse_args()

    with modelyard.init(id=args.id, resume="allow", config={"lr": args.lr, "epochs": args.epochs}) as run:
        run.define_metric("val.accuracy", summary="max,last")
        state, first = fresh(), 0
        with tempfile.TemporaryDirectory() as folder:
            if run.resumed and (found := last_checkpoint(run)):
                with np.load(found) as file:
                    state = {name: file[name] for name in file.files}
                first = int(state.pop("epoch")) + 1
                print(f"resumed after epoch {first - 1}", flush=True)
            x, spiral = points(2_000, seed=2)
            x_val, spiral_val = points(500, seed=3)
            for epoch in range(first, run.config["epochs"]):
                order = np.random.default_rng(epoch).permutation(len(x))
                for start in range(0, len(x), BATCH):
                    batch = order[start : start + BATCH]
                    loss = learn(state, x[batch], spiral[batch], run.config["lr"])
                    run.log({"epoch": epoch, "train": {"loss": loss}})
                accuracy = np.mean((forward(state, x_val)[1] > 0.5) == spiral_val)
                run.log({"epoch": epoch, "val": {"accuracy": accuracy}})
                checkpoint = Path(folder, "checkpoint.npz")
                np.savez(checkpoint, epoch=epoch, **state)
                run.log_artifact(checkpoint, name=f"checkpoint-{run.id}", type="checkpoint")
                print(f"epoch {epoch} accuracy {accuracy:.3f}", flush=True)
            np.savez(Path(folder, "spirals.npz"), **{name: state[name] for name in ("w1", "b1", "w2", "b2")})
            run.log_model(Path(folder, "spirals.npz"), name="spirals")


def last_checkpoint(run: modelyard.Run) -> str | None:
    """The file of the run's last checkpoint; None if it was stopped before the first."""
    try:
        artifact = run.use_artifact(f"checkpoint-{run.id}:latest", type="checkpoint")
    except errors.NotFound:
        return None
    return artifact.file()


def fresh() -> dict[str, Array]:
    """Random weights, and the averages that the optimizer (RMSprop) keeps of each."""
    random = np.random.default_rng(1)
    weights = {
        "w1": random.normal(0, 1, (2, HIDDEN)),
        "b1": random.normal(0, 1, HIDDEN),
        "w2": random.normal(0, HIDDEN**-0.5, HIDDEN),
        "b2": np.zeros(1),
    }
    return weights | {f"average_{name}": np.zeros_like(array) for name, array in weights.items()}


def forward(state: dict[str, Array], x: Array) -> tuple[Array, Array]:
    """The hidden layer, and the probability of spiral 1, for each point."""
    hidden = np.tanh(x @ state["w1"] + state["b1"])
    return hidden, 1 / (1 + np.exp(-(hidden @ state["w2"] + state["b2"])))


def learn(state: dict[str, Array], x: Array, spiral: Array, lr: float) -> float:
    """Makes one step; returns the loss before it."""
    hidden, found = forward(state, x)
    error = (found - spiral) / len(x)
    back = np.outer(error, state["w2"]) * (1 - hidden**2)
    gradients = {"w1": x.T @ back, "b1": back.sum(0), "w2": hidden.T @ error, "b2": error.sum(keepdims=True)}
    for name, gradient in gradients.items():
        average = state[f"average_{name}"]
        average += 0.1 * (gradient**2 - average)
        state[name] -= lr * gradient / (np.sqrt(average) + 1e-8)
    sure = np.clip(found, 1e-9, 1 - 1e-9)
    return float(-np.mean(spiral * np.log(sure) + (1 - spiral) * np.log(1 - sure)))


if __name__ == "__main__":
    main()
