"""Charts under their public names: `modelyard.plot.line(table, "x", "y")`."""

from __future__ import annotations

from modelyard.media.charts.chart import CustomChart, CustomChartSpec, plot_table
from modelyard.media.charts.plots import (
    bar,
    confusion_matrix,
    histogram,
    line,
    line_series,
    pr_curve,
    roc_curve,
    scatter,
)

__all__ = [
    "CustomChart",
    "CustomChartSpec",
    "bar",
    "confusion_matrix",
    "histogram",
    "line",
    "line_series",
    "plot_table",
    "pr_curve",
    "roc_curve",
    "scatter",
]
