"""`plot`: charts as rows have them, and the numbers of their curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelyard
from modelyard import Api, errors, plot
from modelyard.data_types import Table
from modelyard.media.charts import curves

TRUTH = [0, 1, 1, 0, 2, 1]
SCORES = [
    [0.8, 0.1, 0.1],
    [0.2, 0.7, 0.1],
    [0.3, 0.4, 0.3],
    [0.5, 0.3, 0.2],
    [0.1, 0.2, 0.7],
    [0.4, 0.4, 0.2],
]
NAMES = ["a", "b", "c"]


def _table() -> Table:
    return Table(columns=["a", "b", "c"], data=[[1, 2.5, "x"], [2, 3.5, "y"]])


def test_charts_are_logged_with_their_tables(work: Path) -> None:
    charts = {
        "line": plot.line(_table(), "a", "b", stroke="c", title="A line"),
        "scatter": plot.scatter(_table(), "a", "b"),
        "bar": plot.bar(_table(), "c", "a", split_table=True),
        "histogram": plot.histogram(_table(), "a"),
        "custom": modelyard.plot_table("mine/own", _table(), {"x": "a"}, {"title": "Mine"}),
        "like": modelyard.plot_table("wandb/line/v0", _table(), {"x": "a", "y": "b"}),
    }
    with modelyard.init() as run:
        run.log(charts)
    found = Api().run(run.path)
    (row,) = found.scan_history()
    assert row["line"]["_type"] == "custom-chart"
    assert row["line"]["fields"] == {"x": "a", "y": "b", "stroke": "c"}
    assert row["line"]["string_fields"] == {"title": "A line"}
    assert {key: row[key]["spec"] for key in charts} == {
        "line": "line", "scatter": "scatter", "bar": "bar", "histogram": "histogram", "custom": "mine/own",
        "like": "line",
    }  # fmt: skip
    assert row["line_table"] == row["line"]["table"]
    assert row["Custom Chart Tables/bar_table"]["nrows"] == 2
    assert "bar_table" not in row
    assert found.media(row["custom_table"], "there") == _table()
    chart = found.media(row["custom"], "there")
    assert (chart.table, chart.spec.string_fields) == (_table(), {"title": "Mine"})


def test_lines_have_places_in_common_or_each_its_own() -> None:
    chart = plot.line_series([0, 1], [[1, 2], [3, 4]], keys=["u", "v"], title="T", xname="step")
    assert chart.table.data == [[0, "u", 1], [1, "u", 2], [0, "v", 3], [1, "v", 4]]
    assert chart.spec.string_fields == {"title": "T", "xname": "step"}
    own = plot.line_series([[0, 1], [5, 6, 7]], [[1, 2], [3, 4, 5]])
    assert own.table.data == [
        [0, "line_0", 1],
        [1, "line_0", 2],
        [5, "line_1", 3],
        [6, "line_1", 4],
        [7, "line_1", 5],
    ]
    assert plot.line_series(np.arange(2), np.eye(2)).table.data[0] == [0, "line_0", 1.0]
    for wrong in (
        lambda: plot.line_series([0], [[1]], keys=["a", "b"]),
        lambda: plot.line_series([[0]], [[1], [2]]),
    ):
        with pytest.raises(ValueError, match="line_series"):
            wrong()


def _counts(chart: plot.CustomChart) -> dict[tuple[str, str], int]:
    return {(actual, guess): count for actual, guess, count in chart.table.data if count}


def test_a_confusion_matrix_counts_pairs_of_classes() -> None:
    by_prediction = plot.confusion_matrix(y_true=TRUTH, preds=[0, 1, 1, 0, 2, 0], class_names=NAMES)
    assert _counts(by_prediction) == {("a", "a"): 2, ("b", "b"): 2, ("b", "a"): 1, ("c", "c"): 1}
    assert len(by_prediction.table.data) == 9
    assert (
        plot.confusion_matrix(y_true=TRUTH, probs=SCORES, class_names=["a", "b", "c"]).table
        == by_prediction.table
    )
    named = plot.confusion_matrix(y_true=["x", "y"], preds=["x", "x"])
    assert _counts(named) == {("Class_1", "Class_1"): 1, ("Class_2", "Class_1"): 1}
    assert _counts(plot.confusion_matrix(y_true=["y"], preds=["x"], class_names=["x", "y"])) == {
        ("y", "x"): 1
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"y_true": [0, 1], "preds": [0]},
        {"y_true": [0, 1], "preds": [0, 1], "probs": [[1, 0], [0, 1]]},
        {"y_true": [0, 5], "preds": [0, 5], "class_names": ["a"]},
        {"y_true": [0, 1]},
        {"preds": [0, 1]},
    ],
)
def test_a_confusion_matrix_of_other_lengths_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="confusion_matrix"):
        plot.confusion_matrix(**wrong)


def test_roc_curves_are_those_that_were_computed_by_hand() -> None:
    # Scores of class 1, from the greatest: 0.7 yes, 0.4 yes, 0.4 yes, 0.3 no, 0.2 no, 0.1 no.
    (curve,) = curves.by_class(curves.roc, TRUTH, SCORES, None, [1])
    assert curve.points == [(0.0, 0.0), (0.0, pytest.approx(1 / 3)), (0.0, 1.0), (1.0, 1.0)]
    # Of class 0: 0.8 yes, 0.5 yes, 0.4 no, 0.3 no, 0.2 no, 0.1 no.
    chart = plot.roc_curve(TRUTH, SCORES, labels=["zero", "one", "two"], classes_to_plot=[0])
    assert chart.table.data == [
        ["zero", 0.0, 0.0],
        ["zero", 0.0, 0.5],
        ["zero", 0.0, 1.0],
        ["zero", 1.0, 1.0],
    ]
    assert chart.spec.fields == {"x": "fpr", "y": "tpr", "class": "class"}
    mixed = curves.roc(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.6]))
    assert mixed == ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])


def test_precision_recall_curves_are_those_that_were_computed_by_hand() -> None:
    # yes, no, yes, no: precisions 1, 1/2, 2/3, 1/2 at recalls 1/2, 1/2, 1, 1.
    found = curves.precision_recall(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.6]), 5)
    assert found == ([1.0, 0.75, 0.5, 0.25, 0.0], [pytest.approx(2 / 3), pytest.approx(2 / 3), 1.0, 1.0, 1.0])
    chart = plot.pr_curve(TRUTH, SCORES, interp_size=3)
    assert chart.table.columns == ["class", "recall", "precision"]
    assert [row[:2] for row in chart.table.data[:3]] == [[0, 1.0], [0, 0.5], [0, 0.0]]


@pytest.mark.optional("sklearn")
def test_curves_are_those_of_scikit_learn() -> None:
    import importlib

    metrics = importlib.import_module("sklearn.metrics")
    random = np.random.default_rng(3)
    for _ in range(50):
        truth = random.random(200) < 0.3
        scores = np.round(random.random(200), 1 + int(random.integers(0, 3)))
        false, true, _ = metrics.roc_curve(truth, scores)
        xs, ys = curves.roc(truth, scores)
        assert np.allclose(xs, false)
        assert np.allclose(ys, true)
        precision, recall, _ = metrics.precision_recall_curve(truth, scores)
        for wanted, best in zip(*curves.precision_recall(truth, scores, 21), strict=True):
            assert best == pytest.approx(precision[recall >= wanted - 1e-9].max())


@pytest.mark.parametrize(
    ("truth", "scores"),
    [
        ([0, 1], [[0.5], [0.6]]),
        ([0], [[0.5, 0.5], [0.5, 0.5]]),
        ([], []),
        ([0, 1], None),
        ([0, 1], [[np.nan, 1]] * 2),
    ],
)
def test_curves_of_other_shapes_are_refused(truth: Any, scores: Any) -> None:
    for make in (plot.roc_curve, plot.pr_curve):
        with pytest.raises(ValueError, match=r"the chart needs|scores"):
            make(truth, scores)


def test_long_curves_keep_their_ends() -> None:
    points = [(number / 9_999, 0.5) for number in range(10_000)]
    found = curves.thinned(points, 100)
    assert (len(found), found[0], found[-1]) == (100, points[0], points[-1])
    assert curves.thinned(points[:5], 100) == points[:5]


def test_a_chart_is_made_of_a_table_and_says_which_column_it_lacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(errors.Error, match="data_table is a Table"):
        modelyard.plot_table("line", [[1, 2]], {"x": "a"})  # type: ignore[arg-type]
    plot.line(_table(), "a", "zz")
    assert "no column 'zz'" in capsys.readouterr().err
