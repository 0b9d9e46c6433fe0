"""`Histogram`: how numbers are distributed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.conversion import arrays
from modelyard.media import libraries
from modelyard.media.content import Place
from modelyard.media.media import Media, Source


class Histogram(Media):
    """Counts of numbers in `num_bins` bins, at most 512; or those of `np_histogram`, (counts, borders).

    It is a value of a row without a file. NaN and infinities are in no bin. Errors: ValueError,
    Error where NumPy is missing.
    """

    type_name = arrays.HISTOGRAM
    MAX_LENGTH = 512
    """The most bins."""

    def __init__(self, sequence: Any = None, np_histogram: Any = None, num_bins: int = 64) -> None:
        if np_histogram is not None:
            counts, borders = (_listed(part) for part in np_histogram)
        else:
            if sequence is None:
                raise ValueError("Histogram: a sequence or np_histogram is needed")
            counts, borders = _counted(sequence, num_bins)
        if len(counts) > self.MAX_LENGTH:
            raise ValueError(f"Histogram: at most {self.MAX_LENGTH} bins, not {len(counts)}")
        if len(counts) + 1 != len(borders):
            raise ValueError(
                f"Histogram: {len(counts)} counts need {len(counts) + 1} borders, not {len(borders)}"
            )
        self.histogram: list[float] = counts
        self.bins: list[float] = borders

    def store(self, place: Place) -> dict[str, Any]:
        """The map that stands for it."""
        return {"_type": self.type_name, "values": self.histogram, "bins": self.bins}

    @classmethod
    def load(cls, stored: Mapping[str, Any], source: Source) -> Histogram:
        """The histogram of a map."""
        return cls(np_histogram=(stored["values"], stored["bins"]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return self.histogram == other.histogram and self.bins == other.bins

    __hash__ = None  # type: ignore[assignment]  # its lists may be changed


def _counted(sequence: Any, bins: int) -> tuple[list[float], list[float]]:
    libraries.load("numpy", "modelyard.Histogram")
    if bins < 1 or bins > Histogram.MAX_LENGTH:
        raise ValueError(f"Histogram: num_bins is 1 to {Histogram.MAX_LENGTH}, not {bins}")
    numbers = arrays.numbers_in(sequence if hasattr(sequence, "shape") else list(sequence))
    if numbers is None:
        raise ValueError("Histogram: a sequence of numbers is needed")
    found = arrays.histogram(numbers, bins)
    return found["values"], found["bins"]


def _listed(part: Any) -> list[float]:
    return part.tolist() if hasattr(part, "tolist") else list(part)
