"""What is stored of arrays and tensors: lists of few elements, histograms or statistics of many.

NumPy is not a dependency; it is imported where an array of it, or a tensor, is given.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

from modelyard.contract.limits import INT_MAX, INT_MIN

HISTOGRAM = "histogram"
"""The `_type` of a histogram among the values of a row."""
FEW_ELEMENTS = 32
"""Arrays of metrics with more elements are stored as a histogram."""
BINS = 32
"""Of such a histogram."""
_PERCENTILES = (10, 25, 75, 90)


class Rule(enum.Enum):
    """What is stored of an array of many elements."""

    LIST = 1
    """A list, of config and metadata."""
    HISTOGRAM = 2
    """A histogram of its elements, of metrics."""
    STATISTICS = 3
    """Minimum, maximum, mean and the like, of the summary."""


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of an array or a tensor; None for other values."""
    shape = getattr(value, "shape", None)
    if not isinstance(shape, Iterable) or callable(shape):
        return None
    try:
        return tuple(int(length) for length in shape)
    except (TypeError, ValueError):
        return None


def number_in(value: Any) -> float | int | None:
    """The number that an array or a tensor without dimensions holds; None for other values.

    Losses and accuracies are logged as such in every step, so this is fast.
    """
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or shape:
        return None
    try:
        number = value.item()
    except Exception:  # it may be anything that has a shape
        return None
    if type(number) is float or type(number) is bool:
        return number
    return number if type(number) is int and INT_MIN <= number <= INT_MAX else None


def is_histogram(value: Any) -> bool:
    """Whether a value is a histogram as it is stored."""
    return isinstance(value, dict) and value.get("_type") == HISTOGRAM


def is_typed(value: Any) -> bool:
    """Whether a value is a map that stands for a histogram or for media, and not one of several metrics."""
    return isinstance(value, dict) and isinstance(value.get("_type"), str)


def numbers_in(value: Any) -> Any:
    """The elements of an array or a tensor as a flat NumPy array of floats, without masked ones.

    They are copied only where they have to be converted: a tensor may have gigabytes.
    None for arrays of other elements (text, dates, complex numbers), for tables,
    and where NumPy is not installed.
    """
    if hasattr(value, "columns"):
        return None
    try:
        import numpy as np
    except ImportError:
        return None
    for move in ("detach", "cpu"):  # a tensor that has a gradient or lies on a device
        if callable(getattr(value, move, None)):
            value = getattr(value, move)()
    if isinstance(value, np.ma.MaskedArray):
        value = value.compressed()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        # Torch has kinds of numbers that NumPy has not, such as bfloat16, and tensors that are not dense.
        array = _converted(value, np)
    if array is None or array.dtype.kind not in "biufV" or array.dtype.names:
        return None
    small = array.dtype.itemsize <= 2  # they fit in 32 bits without loss
    kind = array.dtype if array.dtype in (np.float32, np.float64) else np.float32 if small else np.float64
    try:
        return array.astype(kind, copy=False).reshape(-1)
    except (TypeError, ValueError):
        return None


def _converted(tensor: Any, np: Any) -> Any:
    for change in ("to_dense", "double"):
        try:
            tensor = getattr(tensor, change)()
            return np.asarray(tensor)
        except (AttributeError, TypeError, ValueError, RuntimeError):
            continue
    return None


def histogram(numbers: Any, bins: int = BINS) -> dict[str, Any]:
    """The histogram of finite numbers: `bins` counts, and the bins + 1 borders between them.

    `numbers` are those of `numbers_in`. NaN and infinities are in no bin.
    """
    import numpy as np

    finite = _finite(numbers, np)
    if (
        finite.size
        and max(abs(float(finite.min())), abs(float(finite.max()))) > np.finfo(finite.dtype).max / 4
    ):
        # The difference of two very large numbers would overflow.
        counts, borders = np.histogram(finite / 4, bins, _range(finite / 4, bins, np))
        borders = borders * 4
    else:
        counts, borders = np.histogram(finite, bins, _range(finite, bins, np))
    return {"_type": HISTOGRAM, "bins": borders.tolist(), "values": counts.tolist()}


def _finite(numbers: Any, np: Any) -> Any:
    """The numbers without NaN and infinities; they themselves, not a copy, where there are none."""
    mask = np.isfinite(numbers)
    return numbers if mask.all() else numbers[mask]


def _range(finite: Any, bins: int, np: Any) -> tuple[float, float]:
    """From the smallest to the largest number; wider where that cannot be divided into so many bins."""
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    least = 2 * bins * float(np.spacing(finite.dtype.type(max(abs(low), abs(high)))))
    return (low - least, high + least) if high - low < least else (low, high)


def statistics(numbers: Any, kind: str) -> dict[str, Any]:
    """What the summary has of an array: of its finite numbers, besides `size`, the number of all.

    `nonfinite` is the number of NaN and infinities, where there are any.
    """
    import numpy as np

    finite = _finite(numbers, np)
    found: dict[str, Any] = {"_type": kind, "size": int(numbers.size)}
    if finite.size < numbers.size:
        found["nonfinite"] = int(numbers.size - finite.size)
    if finite.size:
        with np.errstate(all="ignore"):  # large numbers overflow to infinity
            found |= {
                "min": float(finite.min()),
                "max": float(finite.max()),
                "mean": float(finite.mean(dtype=np.float64)),
                "var": float(finite.var(dtype=np.float64)),
            }
            percentiles = np.percentile(finite, _PERCENTILES)
        found |= {f"{percent}%": float(of) for percent, of in zip(_PERCENTILES, percentiles, strict=True)}
    return found


def kind_of(value: Any) -> str:
    """The name of an array's type, such as `numpy.ndarray` or `torch.Tensor`."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    return "torch.Tensor" if package == "torch" else f"{package}.{kind.__name__}"
