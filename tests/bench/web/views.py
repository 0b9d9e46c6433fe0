"""The views that are measured: where they are on each side, and what says that they are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shown:
    """A view of one side: its path, a selector of what a person waits for, and a text in it."""

    path: str
    selector: str
    text: str = ""

    @property
    def ready(self) -> dict[str, Any]:
        """As `ready.js` takes it."""
        return {"selector": self.selector, "text": self.text}


@dataclass(frozen=True)
class View:
    """What is measured: the n-th thing of its kind on each side. `theirs` None: MLflow has no such view."""

    what: str
    ours: Callable[[int], Shown]
    theirs: Callable[[int], Shown] | None


REGISTRY = {
    "ours": Shown("/registry/dataset", "h1", "Registered models"),
    "theirs": Shown("/#/experiments", 'a[href*="/experiments/0"]'),
}
"""Where one comes from, on each side, in a visit to another view."""


def views(million: str, their_million: str) -> tuple[View, ...]:
    """All of them; the arguments are the ids of the runs with most points."""
    return (
        View(
            "registered models",
            lambda n: Shown("/registry/model", "tbody a.name"),
            lambda n: Shown("/#/models", 'a[href*="/models/model-"]'),
        ),
        View(
            "a registered model",
            lambda n: Shown(f"/local/model-registry/models/model%20{n}", 'a[aria-label^="View v"]'),
            lambda n: Shown(f"/#/models/model-{n}", f'a[href*="/models/model-{n}/versions/"]'),
        ),
        View(
            "a version",
            lambda n: Shown(f"/local/model-registry/models/model%20{n}/v0", "dl.kv dd", "classifier-"),
            lambda n: Shown(f"/#/models/model-{n}/versions/1", "main, #root", "Version 1"),
        ),
        View(
            "runs of a project",
            lambda n: Shown("/local/many-runs", "tbody a.name"),
            lambda n: Shown("/#/experiments/0/runs", 'a[href*="/runs/"]'),
        ),
        View(
            "a run with 10⁶ points",
            lambda n: Shown(f"/local/p/runs/{million}", '[role="img"][aria-label^="loss by"] canvas'),
            lambda n: Shown(
                f"/#/experiments/0/runs/{their_million}/model-metrics", ".js-plotly-plot .scatterlayer path"
            ),
        ),
    )
