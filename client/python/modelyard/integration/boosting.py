"""What the callbacks for XGBoost and LightGBM share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import modelyard
from modelyard.runs.run import Run

_MINIMIZED = {
    "rmse", "rmsle", "mae", "mape", "mphe", "error", "merror", "l1", "l2", "huber", "fair", "poisson",
    "gamma",
}  # fmt: skip
_MAXIMIZED = {"auc", "aucpr", "ndcg", "map", "average_precision"}


def keep_best(run: Run, name: str, metric: str) -> None:
    """Has the summary keep the best value of the metric `name`, where it is known what is better."""
    kind = metric.lower().partition("@")[0]  # ndcg@5, error@0.7
    if "loss" in kind or kind in _MINIMIZED:
        run.define_metric(name, summary="min")
    elif kind in _MAXIMIZED:
        run.define_metric(name, summary="max")


def importance_chart(importances: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A bar chart of how important features are, to be logged."""
    rows = [[feature, importance] for feature, importance in importances]
    table = modelyard.Table(columns=["Feature", "Importance"], data=rows)
    bars = modelyard.plot.bar(table, "Feature", "Importance", title="Feature Importance")
    return {"Feature Importance": bars}
