"""Points on two half moons, and a network with one hidden layer that classifies them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def points(count: int, seed: int) -> tuple[Array, Array]:
    """Returns `count` points in the plane, and for each the moon (0 or 1) that it belongs to."""
    random = np.random.default_rng(seed)
    angle = random.uniform(0, np.pi, count)
    moon = random.integers(0, 2, count).astype(np.float64)
    x = np.where(moon == 0, np.cos(angle), 1 - np.cos(angle))
    y = np.where(moon == 0, np.sin(angle), 0.5 - np.sin(angle))
    return np.stack([x, y], axis=1) + random.normal(0, 0.12, (count, 2)), moon


class Network:
    """Weights of the network; saved as one `.npz` file."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.weights = weights

    @classmethod
    def fresh(cls, hidden: int, seed: int) -> Network:
        """Returns a network with random weights."""
        random = np.random.default_rng(seed)
        return cls(
            {
                "w1": random.normal(0, 1, (2, hidden)),
                "b1": np.zeros(hidden),
                "w2": random.normal(0, hidden**-0.5, (hidden, 1)),
                "b2": np.zeros(1),
            }
        )

    @classmethod
    def load(cls, path: str) -> Network:
        """Reads a network from a file."""
        with np.load(path) as file:
            return cls({name: file[name] for name in file.files})

    def save(self, path: str) -> None:
        """Writes the network to a file."""
        np.savez(path, **self.weights)

    def probability(self, x: Array) -> Array:
        """Returns for each point the probability that it belongs to moon 1."""
        return self._forward(x)[1]

    def accuracy(self, x: Array, moon: Array) -> float:
        """Returns the share of points that are classified correctly."""
        return float(np.mean((self.probability(x) > 0.5) == moon))

    def learn(self, x: Array, moon: Array, rate: float) -> float:
        """Makes one step of gradient descent; returns the loss before it."""
        hidden, found = self._forward(x)
        error = (found - moon)[:, None] / len(x)
        back = (error @ self.weights["w2"].T) * (1 - hidden**2)
        steps = {"w1": x.T @ back, "b1": back.sum(0), "w2": hidden.T @ error, "b2": error.sum(0)}
        for name, step in steps.items():
            self.weights[name] -= rate * step
        sure = np.clip(found, 1e-9, 1 - 1e-9)
        return float(-np.mean(moon * np.log(sure) + (1 - moon) * np.log(1 - sure)))

    def _forward(self, x: Array) -> tuple[Array, Array]:
        hidden = np.tanh(x @ self.weights["w1"] + self.weights["b1"])
        score = (hidden @ self.weights["w2"] + self.weights["b2"])[:, 0]
        return hidden, 1 / (1 + np.exp(-score))
