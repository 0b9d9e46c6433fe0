"""Charts of the kinds that scripts ask for by name: `plot.line(table, "x", "y")`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from modelyard.media.charts import curves
from modelyard.media.charts.chart import CustomChart, plot_table
from modelyard.media.tables.table import Table

_CURVE_DIGITS = 3
CURVE_POINTS = 10_000
"""The most points of all curves of a chart; of more some are left out evenly, and the ends stay."""


def line(
    table: Table, x: str, y: str, stroke: str | None = None, title: str = "", split_table: bool = False
) -> CustomChart:
    """A line of two columns; with `stroke` one for each value of that column."""
    return plot_table("line", table, {"x": x, "y": y, "stroke": stroke}, {"title": title}, split_table)


def scatter(table: Table, x: str, y: str, title: str = "", split_table: bool = False) -> CustomChart:
    """A point for each row."""
    return plot_table("scatter", table, {"x": x, "y": y}, {"title": title}, split_table)


def bar(table: Table, label: str, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """A bar for each row."""
    return plot_table("bar", table, {"label": label, "value": value}, {"title": title}, split_table)


def histogram(table: Table, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """How the numbers of a column are distributed."""
    return plot_table("histogram", table, {"value": value}, {"title": title}, split_table)


def line_series(
    xs: Iterable[Any],
    ys: Iterable[Iterable[Any]],
    keys: Iterable[str] | None = None,
    title: str = "",
    xname: str = "x",
    split_table: bool = False,
) -> CustomChart:
    """A line for each of `ys`, over the same `xs` or each over its own. ValueError for fewer or more."""
    lines = [list(one) for one in ys]
    places = list(xs)
    nested = bool(places) and all(isinstance(one, Iterable) and not isinstance(one, str) for one in places)
    each = [list(one) for one in places] if nested else [places] * len(lines)
    names = [f"line_{number}" for number in range(len(lines))] if keys is None else list(keys)
    if len(each) != len(lines):
        raise ValueError(f"line_series: {len(lines)} lines need as many lists of x, not {len(each)}")
    if len(names) != len(lines):
        raise ValueError(f"line_series: {len(lines)} lines need as many keys, not {len(names)}")
    rows = [
        [x, name, y]
        for name, x_of_line, y_of_line in zip(names, each, lines, strict=True)
        for x, y in zip(x_of_line, y_of_line, strict=False)
    ]
    columns = ["step", "lineKey", "lineVal"]
    fields = {name: name for name in columns}
    texts = {"title": title, "xname": xname}
    return plot_table("lineseries", Table(columns=columns, data=rows), fields, texts, split_table)


def confusion_matrix(
    probs: Sequence[Sequence[float]] | None = None,
    y_true: Sequence[Any] | None = None,
    preds: Sequence[Any] | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "Confusion Matrix Curve",
    split_table: bool = False,
) -> CustomChart:
    """How often each class was predicted for each: of `preds`, or of the greatest of `probs`.

    Without `class_names` classes are `Class_1`, `Class_2`, … in their order. Errors: ValueError.
    """
    columns = ["Actual", "Predicted", "nPredictions"]
    rows = curves.confusion(y_true, preds, probs, class_names)
    fields = {name: name for name in columns}
    return plot_table(
        "confusion_matrix", Table(columns=columns, data=rows), fields, {"title": title}, split_table
    )


def roc_curve(
    y_true: Sequence[Any],
    y_probas: Sequence[Sequence[float]],
    labels: Sequence[str] | None = None,
    classes_to_plot: Sequence[Any] | None = None,
    title: str = "ROC Curve",
    split_table: bool = False,
) -> CustomChart:
    """For each class the share of true positives over that of false ones. Errors: ValueError."""
    found = curves.by_class(curves.roc, y_true, y_probas, labels, classes_to_plot)
    texts = {"title": title, "x-axis-title": "False positive rate", "y-axis-title": "True positive rate"}
    return _curves(("fpr", "tpr"), found, texts, split_table=split_table)


def pr_curve(
    y_true: Sequence[Any],
    y_probas: Sequence[Sequence[float]],
    labels: Sequence[str] | None = None,
    classes_to_plot: Sequence[Any] | None = None,
    interp_size: int = 21,
    title: str = "Precision-Recall Curve",
    split_table: bool = False,
) -> CustomChart:
    """For each class the precision at `interp_size` evenly spaced recalls. Errors: ValueError."""

    def curve(is_class: Any, scores: Any) -> tuple[list[float], list[float]]:
        return curves.precision_recall(is_class, scores, interp_size)

    found = curves.by_class(curve, y_true, y_probas, labels, classes_to_plot)
    texts = {"title": title, "x-axis-title": "Recall", "y-axis-title": "Precision"}
    return _curves(("recall", "precision"), found, texts, split_table=split_table)


def _curves(
    axes: tuple[str, str], found: Sequence[curves.Curve], texts: dict[str, str], *, split_table: bool
) -> CustomChart:
    each = max(2, CURVE_POINTS // max(1, len(found)))
    rows = [
        [curve.name, round(x, _CURVE_DIGITS), round(y, _CURVE_DIGITS)]
        for curve in found
        for x, y in curves.thinned(curve.points, each)
    ]
    table = Table(columns=["class", *axes], data=rows, allow_mixed_types=True)
    fields = {"x": axes[0], "y": axes[1], "class": "class"}
    return plot_table("area-under-curve", table, fields, texts, split_table)
