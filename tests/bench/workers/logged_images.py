"""A run that logs a picture at every step, the same for modelyard and for wandb. It needs NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bench.workers.orders import seconds

_SIDE = 64


def of(library: Any) -> Callable[..., float]:
    """The operation `logged_images` of a library."""

    def logged_images(steps: int, mode: str | None = None) -> float:
        """Seconds from `init` to the end of `finish`. `mode` is that of `init`."""
        import numpy  # other operations are measured without it

        chance = numpy.random.default_rng(0)
        pictures = chance.integers(0, 256, (steps, _SIDE, _SIDE, 3), dtype=numpy.uint8)

        def log() -> None:
            run = library.init(project="bench", mode=mode)
            for step, picture in enumerate(pictures):
                run.log({"loss": 1.0 / (step + 1), "picture": library.Image(picture)})
            run.finish()

        return seconds(log)

    return logged_images
