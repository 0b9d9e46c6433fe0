"""A run from `init` to `finish`, the same for modelyard and for wandb. The standard library only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bench.workers.orders import seconds


def of(library: Any) -> Callable[..., dict[str, float]]:
    """The operation `whole_run` of a library."""

    def whole_run(rows: int, metrics: int, config: int, mode: str | None = None) -> dict[str, float]:
        """Seconds that `init`, logging and `finish` take, of a run with so many metrics in each row.

        Its config has as many numbers as `config` says, in one list. `mode` is that of `init`.
        """
        given = {"lr": 0.1, "shape": [number * 0.5 for number in range(config)]}
        logged = [{f"metric/{key}": row + key * 0.1 for key in range(metrics)} for row in range(rows)]
        made: list[Any] = []

        def log() -> None:
            for row in logged:
                made[0].log(row)

        return {
            "init": seconds(lambda: made.append(library.init(project="bench", config=given, mode=mode))),
            "log": seconds(log),
            "finish": seconds(lambda: made[0].finish()),
        }

    return whole_run
