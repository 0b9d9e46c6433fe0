"""The numbers behind charts of classifiers, made with NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from modelyard.media import libraries

Points: TypeAlias = list[tuple[float, float]]
Make: TypeAlias = Callable[[Any, Any], tuple[list[float], list[float]]]
"""Makes the x and y of a curve from who is of the class, and their scores."""


_TOLERANCE = 1e-9


class Curve(NamedTuple):
    """The curve of one class."""

    name: Any
    points: Points


def confusion(
    y_true: Any, preds: Any, probs: Any, class_names: Sequence[str] | None
) -> list[list[str | int]]:
    """Rows of actual class, predicted class and count, of all pairs of classes. ValueError."""
    numpy = libraries.load("numpy", "plot.confusion_matrix")
    if y_true is None or (preds is None) == (probs is None):
        raise ValueError("confusion_matrix: y_true is needed, and either preds or probs")
    truth = _plain(y_true, numpy)
    predicted = numpy.argmax(numpy.asarray(probs), axis=1).tolist() if preds is None else _plain(preds, numpy)
    if len(truth) != len(predicted):
        raise ValueError(
            f"confusion_matrix: {len(truth)} labels need as many predictions, not {len(predicted)}"
        )
    classes = sorted({*truth, *predicted}, key=lambda one: (str(type(one)), one))
    if class_names is None:
        names = [f"Class_{number + 1}" for number in range(len(classes))]
        indices = {one: number for number, one in enumerate(classes)}
    else:
        names = list(class_names)
        indices = _named(classes, names)
    counts = numpy.zeros((len(names), len(names)), int)
    for actual, guess in zip(truth, predicted, strict=True):
        counts[indices[actual], indices[guess]] += 1
    return [
        [names[actual], names[guess], int(counts[actual, guess])]
        for actual in range(len(names))
        for guess in range(len(names))
    ]


def _named(classes: Sequence[Any], names: Sequence[str]) -> dict[Any, int]:
    """The places of classes among names: classes are numbers of names, or names themselves."""
    found = {}
    for one in classes:
        if isinstance(one, int) and 0 <= one < len(names):
            found[one] = one
        elif one in names:
            found[one] = names.index(one)
        else:
            raise ValueError(f"confusion_matrix: the class {one!r} is none of {len(names)} class_names")
    return found


def by_class(
    make: Make, y_true: Any, y_probas: Any, labels: Sequence[str] | None, chosen: Sequence[Any] | None
) -> list[Curve]:
    """A curve for each class that occurs, or of those that are `chosen`. ValueError for other shapes."""
    numpy = libraries.load("numpy", "this chart")
    if y_true is None or y_probas is None:
        raise ValueError("the chart needs y_true and y_probas")
    truth, scores = numpy.asarray(y_true), numpy.asarray(y_probas, dtype=float)
    classes = numpy.unique(truth)
    if truth.ndim != 1 or not truth.size or scores.ndim != 2 or len(scores) != len(truth):
        raise ValueError(
            f"the chart needs n labels and n × classes scores, not {truth.shape} and {scores.shape}"
        )
    if not numpy.isfinite(scores).all():
        raise ValueError("the chart needs finite scores")
    are_columns = classes.dtype.kind in "iu" and classes.min() >= 0 and classes.max() < scores.shape[1]
    if not are_columns and len(classes) != scores.shape[1]:
        raise ValueError(f"{len(classes)} classes occur, and there are scores of {scores.shape[1]}")
    found = []
    for at, one in enumerate(classes.tolist()):
        if chosen is None or one in list(chosen):
            column = one if are_columns else at
            is_label = labels is not None and isinstance(one, int) and 0 <= one < len(labels)
            name = labels[one] if labels is not None and is_label else one
            xs, ys = make(truth == one, scores[:, column])
            found.append(Curve(name, list(zip(xs, ys, strict=True))))
    return found


def roc(is_class: Any, scores: Any) -> tuple[list[float], list[float]]:
    """Shares of false and of true positives, at each threshold that changes the direction of the curve."""
    numpy = libraries.load("numpy", "plot.roc_curve")
    true, false = _cumulated(is_class, scores, numpy)
    if len(true) > 2:  # points on a straight line between their neighbours are left out
        bends = (numpy.diff(false, 2) != 0) | (numpy.diff(true, 2) != 0)
        kept = numpy.concatenate([[True], bends, [True]])
        true, false = true[kept], false[kept]
    true, false = numpy.concatenate([[0], true]), numpy.concatenate([[0], false])
    return (false / max(1, false[-1])).tolist(), (true / max(1, true[-1])).tolist()


def precision_recall(is_class: Any, scores: Any, size: int) -> tuple[list[float], list[float]]:
    """Recalls from 1 to 0, evenly spaced, and the best precision that is reached with at least each."""
    numpy = libraries.load("numpy", "plot.pr_curve")
    if size < 2:
        raise ValueError(f"pr_curve: interp_size is at least 2, not {size}")
    true, false = _cumulated(is_class, scores, numpy)
    recall = numpy.concatenate([[0.0], true / max(1, true[-1])])
    precision = numpy.concatenate([[1.0], true / (true + false)])
    best = numpy.maximum.accumulate(precision[::-1])[::-1]
    wanted = numpy.linspace(0, 1, size)[::-1]
    # 7 / 20 and the eighth of 21 steps from 0 to 1 are not the same float.
    return wanted.tolist(), best[numpy.searchsorted(recall, wanted - _TOLERANCE, side="left")].tolist()


def thinned(points: Points, most: int) -> Points:
    """At most so many points of a curve, evenly spaced, with its first and last."""
    if len(points) <= most:
        return points
    step = (len(points) - 1) / (most - 1)
    return [points[round(number * step)] for number in range(most)]


def _cumulated(is_class: Any, scores: Any, numpy: Any) -> tuple[Any, Any]:
    """How many are truly and falsely of the class, for each threshold from the greatest score on."""
    order = numpy.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = numpy.concatenate([numpy.nonzero(numpy.diff(ordered))[0], [len(ordered) - 1]])
    true = numpy.cumsum(is_class[order])[last]
    return true, last + 1 - true


def _plain(values: Any, numpy: Any) -> list[Any]:
    found: list[Any] = numpy.asarray(values).tolist()
    return found
