"""Points on two spirals, and which spiral each belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def points(count: int, seed: int) -> tuple[Array, Array]:
    """Returns `count` points in the plane, and for each its spiral (0 or 1)."""
    random = np.random.default_rng(seed)
    spiral = random.integers(0, 2, count)
    angle = np.sqrt(random.uniform(0, 1, count)) * 2 * np.pi
    turned = angle + np.pi * spiral
    x = np.stack([np.cos(turned), np.sin(turned)], axis=1) * angle[:, None] / 3
    return x + random.normal(0, 0.05, (count, 2)), spiral.astype(np.float64)
