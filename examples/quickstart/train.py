"""Trains a model, logs it, and links it with the alias `staging`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from moons import Network, points

import modelyard


def main() -> None:
    """Trains in one run, from its config to its model."""
    run = modelyard.init(project="quickstart", config={"hidden": 16, "rate": 1.0, "epochs": 300})
    network = Network.fresh(run.config.hidden, seed=1)
    x, moon = points(1_000, seed=2)
    x_unseen, moon_unseen = points(500, seed=3)
    for _ in range(run.config.epochs):
        loss = network.learn(x, moon, run.config.rate)
        run.log({"loss": loss, "accuracy": network.accuracy(x_unseen, moon_unseen)})

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "moons.npz")
        network.save(str(path))
        run.log_model(path, name="moons")
        run.link_model(path, registered_model_name="Moons", name="moons", aliases=["staging"])
    run.finish()


if __name__ == "__main__":
    main()
