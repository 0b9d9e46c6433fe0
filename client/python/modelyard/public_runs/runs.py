"""`Runs`: the runs that `Api.runs` finds."""

from __future__ import annotations

import importlib
from typing import Any

from modelyard.arguments import checked_calls
from modelyard.public_runs.public_run import PublicRun
from modelyard.query.listing import Listing

_FORMATS = ("default", "pandas", "polars")


@checked_calls()
class Runs(Listing[PublicRun]):
    """A list of runs, fetched when they are needed."""

    def histories(
        self,
        samples: int = 500,
        keys: list[str] | None = None,
        x_axis: str = "_step",
        format: str = "default",
        stream: str = "default",
    ) -> Any:
        """The histories of all these runs, as `PublicRun.history`, each row with its `run_id`.

        A list of dicts, or a DataFrame of `pandas` or `polars`. Errors: ValueError for
        another format, ImportError where the library is not installed.
        """
        if format not in _FORMATS:
            raise ValueError(f"format is one of {', '.join(_FORMATS)}, not {format!r}")
        frames = importlib.import_module(format) if format != "default" else None
        rows = [
            {**row, "run_id": run.id}
            for run in self
            for row in run.history(samples, keys, x_axis, pandas=False, stream=stream)
        ]
        if frames is None:
            return rows
        # Rows may have different metrics: polars would take those of the first hundred.
        return frames.DataFrame(rows, **({"infer_schema_length": None} if format == "polars" else {}))
