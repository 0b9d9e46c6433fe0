"""Arrays and tensors among metrics: lists of few elements, histograms of many, statistics in the summary."""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import modelyard
from modelyard.conversion import arrays
from modelyard.conversion.plain_values import fit
from modelyard.runs.run import Run


def _row(run: Run) -> dict[str, Any]:
    row = next(iter(modelyard.Api().run(run.path).scan_history()))
    return {key: value for key, value in row.items() if not key.startswith("_")}


def _summary(run: Run) -> dict[str, Any]:
    stored = modelyard.Api().run(run.path).summary
    return {key: value for key, value in stored.items() if not key.startswith("_")}


def test_an_array_of_more_than_32_elements_becomes_a_histogram(work: Path) -> None:
    weights = np.linspace(-1, 1, 65).reshape(5, 13)
    run = modelyard.init()
    run.log({"weights": weights, "layers": {"first": {"weights": weights}}, "loss": 1.5})
    run.finish()
    row = _row(run)
    assert row["loss"] == 1.5
    assert row["weights"] == row["layers.first.weights"]
    assert row["weights"]["_type"] == "histogram"
    assert row["weights"]["bins"] == pytest.approx(np.linspace(-1, 1, 33))
    assert (
        row["weights"]["values"] == [2] * 15 + [3, 2] + [2] * 14 + [3] or sum(row["weights"]["values"]) == 65
    )
    found = _summary(run)["weights"]
    assert found == run.summary["weights"] == run.summary["layers"]["first"]["weights"]
    assert found == {
        "_type": "numpy.ndarray", "size": 65, "min": -1, "max": 1,
        "mean": pytest.approx(0, abs=1e-15), "var": pytest.approx(weights.var()),
        "10%": pytest.approx(-0.8), "25%": -0.5, "75%": 0.5, "90%": pytest.approx(0.8),
    }  # fmt: skip


def test_an_array_of_at_most_32_elements_stays_a_list(work: Path) -> None:
    run = modelyard.init()
    run.log({
        "few": np.arange(32), "square": np.eye(2), "empty": np.zeros((0, 3)), "one": np.array([[2.5]]),
        "scalar": np.float16(0.5), "flag": np.bool_(True), "names": np.array(["a", "b"]),
        "masked": np.ma.masked_array([1.0, 2.0], mask=[False, True]), "list": list(range(40)),
    })  # fmt: skip
    run.finish()
    assert _row(run) == {
        "few": list(range(32)), "square": [[1, 0], [0, 1]], "empty": [], "one": 2.5, "scalar": 0.5,
        "flag": True, "names": ["a", "b"], "masked": [1.0, None], "list": list(range(40)),
    }  # fmt: skip
    assert _summary(run) == _row(run)


def test_the_last_value_of_a_name_counts_whatever_it_was_before(work: Path) -> None:
    run = modelyard.init()
    run.log({"x": np.arange(100)}, commit=False)
    run.log({"x": 3})
    run.finish()
    assert (_row(run), _summary(run)) == ({"x": 3}, {"x": 3})


def test_text_and_dates_in_long_arrays_are_no_histogram(work: Path) -> None:
    run = modelyard.init()
    run.log({"names": np.array(["a"] * 40), "days": np.array(["2026-01-01"] * 40, dtype="datetime64[D]")})
    run.finish()
    assert _row(run)["names"] == ["a"] * 40
    assert _row(run)["days"] == ["2026-01-01"] * 40


def test_a_summary_set_to_an_array_has_its_statistics(work: Path) -> None:
    with modelyard.init(config={"kept": np.arange(40)}) as run:
        run.summary["weights"] = np.arange(101)
    assert _summary(run)["weights"]["mean"] == 50
    assert modelyard.Api().run(run.path).config["kept"] == list(range(40))


ODD: dict[str, np.ndarray[Any, Any]] = {
    "all equal": np.full(50, 3.0),
    "all equal and very large": np.full(50, 1e300),
    "nearly equal": np.array([1e16] * 49 + [1e16 + 2]),
    "the largest numbers": np.array([1.7e308, -1.7e308] * 25),
    "the smallest numbers": np.array([5e-324, 0.0] * 25),
    "whole numbers of 64 bits": np.array([2**64 - 1, 0] * 25, dtype=np.uint64),
    "the largest numbers of 32 bits": np.array([3.4e38, -3.4e38] * 25, dtype=np.float32),
    "nearly equal in 32 bits": np.array([2**24] * 49 + [2**24 + 2], dtype=np.float32),
    "all equal in 32 bits": np.full(50, 1e30, dtype=np.float32),
    "extended precision": np.linspace(-1, 1, 50, dtype=np.longdouble),
    "half precision": np.linspace(0, 60_000, 50, dtype=np.float16),
    "truths": np.array([True, False] * 25),
}


@pytest.mark.parametrize("which", ODD)
def test_every_finite_number_is_in_a_bin(which: str) -> None:
    found = fit(ODD[which], "x", arrays.Rule.HISTOGRAM)
    assert sum(found["values"]) == 50
    assert len(found["values"]) == 32
    assert len(found["bins"]) == 33
    assert found["bins"] == sorted(found["bins"])
    assert found["bins"][0] <= float(ODD[which].min()) <= float(ODD[which].max()) <= found["bins"][-1]
    assert all(map(math.isfinite, found["bins"]))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_large_tensors_are_not_copied(kind: type) -> None:
    weights = np.ones((100, 100), dtype=kind)
    numbers = arrays.numbers_in(weights)
    assert np.shares_memory(numbers, weights)
    assert np.shares_memory(arrays._finite(numbers, np), weights)


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    numbers = np.arange(100.0)
    numbers[:4] = [np.nan, np.inf, -np.inf, np.nan]
    assert sum(fit(numbers, "x", arrays.Rule.HISTOGRAM)["values"]) == 96
    found = fit(numbers, "x", arrays.Rule.STATISTICS)
    assert (found["size"], found["nonfinite"], found["min"], found["max"]) == (100, 4, 4, 99)


def test_an_array_of_nothing_finite_is_still_logged() -> None:
    nothing = np.full(40, np.nan)
    assert fit(nothing, "x", arrays.Rule.HISTOGRAM)["values"] == [0] * 32
    assert fit(nothing, "x", arrays.Rule.STATISTICS) == {
        "_type": "numpy.ndarray", "size": 40, "nonfinite": 40
    }  # fmt: skip


def test_masked_elements_are_in_no_bin() -> None:
    half = np.ma.masked_array(np.arange(80.0), mask=np.arange(80) % 2)
    found = fit(half, "x", arrays.Rule.HISTOGRAM)
    assert sum(found["values"]) == 40
    assert found["bins"][-1] == 78


def test_numbers_of_16_bits_that_numpy_does_not_know_become_floats() -> None:
    bfloat16 = ml_dtypes.bfloat16
    assert fit(bfloat16(1.5), "x") == 1.5
    assert fit(np.array(2.5, dtype=bfloat16), "x") == 2.5
    assert fit(np.array([1.5, 2.5], dtype=bfloat16), "x", arrays.Rule.HISTOGRAM) == [1.5, 2.5]
    assert sum(fit(np.ones(40, dtype=bfloat16), "x", arrays.Rule.HISTOGRAM)["values"]) == 40


class Tensor:
    """What a tensor of torch does, as far as values of metrics need it: no array until it is detached."""

    def __init__(self, numbers: Any, *, known: bool = True, attached: bool = True) -> None:
        self.numbers, self.known, self.attached = np.asarray(numbers), known, attached
        self.shape = self.numbers.shape

    def detach(self) -> Tensor:
        return Tensor(self.numbers, known=self.known, attached=False)

    def cpu(self) -> Tensor:
        return self

    def double(self) -> Tensor:
        return Tensor(self.numbers, attached=self.attached)

    def to_dense(self) -> Tensor:
        return self

    def tolist(self) -> Any:
        return self.numbers.tolist()

    def item(self) -> Any:
        return self.numbers.item()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.attached:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        if not self.known:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.numbers


@pytest.mark.parametrize("known", [True, False])
def test_tensors_with_gradients_and_unknown_numbers_become_histograms(known: bool) -> None:
    found = fit(Tensor(np.arange(64.0), known=known), "x", arrays.Rule.HISTOGRAM)
    assert found["values"] == [2] * 32
    assert fit(Tensor([1.0, 2.0], known=known), "x", arrays.Rule.HISTOGRAM) == [1.0, 2.0]
    assert fit(Tensor(3.0, known=known), "x") == 3.0


def test_without_numpy_a_long_tensor_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)  # as where it is not installed
    long = types.SimpleNamespace()
    tensor = Tensor.__new__(Tensor)
    tensor.numbers, tensor.shape, tensor.attached, tensor.known = long, (2000,), False, True  # type: ignore[assignment]
    assert fit(tensor, "x", arrays.Rule.HISTOGRAM) == "Tensor of shape (2000,)"
