"""Predicts a few points with the model that has the alias `production`."""

from __future__ import annotations

from moons import Network, points

import modelyard


def main() -> None:
    """Finds the model by name and alias, without knowing its run or file."""
    with modelyard.init(project="quickstart", job_type="predict") as run:
        path = run.use_model("model-registry/Moons:production")
        print(f"production is at {path}")
        network = Network.load(path)
        x, moon = points(5, seed=4)
        for (left, up), truth, found in zip(x, moon, network.probability(x), strict=True):
            print(f"  ({left:5.2f}, {up:5.2f}) lies on moon {truth:.0f}; the model says {found:.0%} moon 1")
        run.log({"accuracy": network.accuracy(*points(2_000, seed=5))})


if __name__ == "__main__":
    main()
