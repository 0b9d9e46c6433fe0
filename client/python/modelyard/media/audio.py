"""`Audio`: sound."""

from __future__ import annotations

import io
import os
import wave
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.media import content, libraries
from modelyard.media.content import Content, Place
from modelyard.media.media import FileMedia

_SAMPLE_BYTES = 2


class Audio(FileMedia):
    """Sound: the path of a file, which is kept as it is, or samples, written as WAV of 16 bits.

    Samples are an array of one dimension, or samples × channels: floats from -1 to 1 or whole
    numbers of 16 bits; they need `sample_rate`, in samples a second. Errors: ValueError, OSError,
    Error where NumPy is missing.
    """

    type_name = "audio-file"
    folder = "audio"
    list_type = "audio"
    list_key = "audio"

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: str | None = None) -> None:
        self.sample_rate = sample_rate
        self.duration: float | None = None
        """Seconds; None where it is not known."""
        if isinstance(data_or_path, str | os.PathLike):
            super().__init__(content.local_file("Audio", data_or_path), caption)
            self._measure()
        else:
            if sample_rate is None or sample_rate < 1:
                raise ValueError(f"Audio: samples need sample_rate, 1 or more, not {sample_rate}")
            samples = _sixteen_bits(data_or_path)
            super().__init__(Content(".wav", _wav(samples, sample_rate)), caption)
            self.duration = len(samples) / sample_rate

    def _measure(self) -> None:
        """Reads rate and length of a WAV file."""
        if self.content.suffix != ".wav" or self.content.path is None:
            return
        try:
            with wave.open(str(self.content.path)) as file:
                self.sample_rate = self.sample_rate or file.getframerate()
                self.duration = file.getnframes() / file.getframerate()
        except (wave.Error, EOFError, ZeroDivisionError):  # of another coding, or damaged
            pass

    def details(self) -> dict[str, Any]:
        """Rate and length, where they are known."""
        found = {"sample_rate": self.sample_rate, "duration": self.duration}
        return {name: value for name, value in found.items() if value is not None}

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Takes rate and length."""
        self.sample_rate, self.duration = stored.get("sample_rate"), stored.get("duration")

    @classmethod
    def store_list(cls, items: Sequence[Any], place: Place) -> Any:
        """Stores a list as one map, with rates and lengths."""
        stored = super().store_list(items, place)
        for name, values in (
            ("sampleRates", [item.sample_rate for item in items]),
            ("durations", [item.duration for item in items]),
        ):
            if any(value is not None for value in values):
                stored[name] = values
        return stored


def _sixteen_bits(data: Any) -> Any:
    """Samples as whole numbers of 16 bits."""
    numpy = libraries.load("numpy", "modelyard.Audio of samples")
    array = numpy.asarray(libraries.on_host(data))
    if array.ndim not in {1, 2} or array.dtype.kind not in "iuf" or not array.size:
        raise ValueError(
            f"Audio: samples, or samples × channels, are needed, not {array.dtype} of {array.shape}"
        )
    if array.dtype.kind == "f":
        return numpy.rint(numpy.nan_to_num(array).clip(-1, 1) * 32_767).astype("<i2")
    if array.min() < -32_768 or array.max() > 32_767:
        raise ValueError("Audio: whole numbers of samples have 16 bits")
    return array.astype("<i2")


def _wav(samples: Any, sample_rate: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(_SAMPLE_BYTES)
        file.setframerate(int(sample_rate))
        file.writeframes(samples.tobytes())
    return buffer.getvalue()
