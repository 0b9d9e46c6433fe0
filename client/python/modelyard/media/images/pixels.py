"""Pictures as Pillow has them, from arrays, tensors and figures."""

from __future__ import annotations

import io
from typing import Any

from modelyard.host import terminal
from modelyard.media import libraries

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Modes of Pillow by the number of channels."""


def picture(data: Any, mode: str | None, *, normalize: bool, opaque: bool) -> Any:
    """The picture of an array, a tensor, a matplotlib figure or a picture of Pillow.

    Arrays are height × width, or height × width × 1, 3 or 4 channels; tensors of torch
    have the channels first. `opaque`: the file type has no transparency. Errors: ValueError
    for other shapes, TypeError for other values, Error where Pillow or NumPy is missing.
    """
    pillow = libraries.load("PIL.Image", "modelyard.Image")
    if isinstance(data, pillow.Image):
        found = data.copy() if mode is None else data.convert(mode)
    elif is_figure(data):
        found = pillow.open(io.BytesIO(drawn(data)))
        found.load()
    else:
        array = eight_bits(_array(data), normalize=normalize)
        found = pillow.fromarray(array)
        found = found.convert(mode) if mode is not None and found.mode != mode else found
    if opaque and found.mode in {"RGBA", "LA", "P", "PA"}:
        if "A" in found.mode:
            terminal.warn_once("transparency of jpg", "jpg files have no transparency: it is left out")
        found = found.convert("RGB")
    return found


def is_figure(value: Any) -> bool:
    """Whether it is a figure of matplotlib, or a part of one such as its axes."""
    return libraries.is_from(value, "matplotlib", "Artist")


def figure_of(artist: Any) -> Any:
    """The figure that a part of it belongs to. ValueError for one that is in no figure."""
    figure = artist if libraries.is_from(artist, "matplotlib", "FigureBase") else artist.figure
    if figure is None:
        raise ValueError(f"the {type(artist).__name__} is in no figure")
    return figure


def drawn(artist: Any) -> bytes:
    """A figure of matplotlib as PNG."""
    buffer = io.BytesIO()
    figure_of(artist).savefig(buffer, format="png")
    return buffer.getvalue()


def _array(data: Any) -> Any:
    """Height × width, or height × width × channels."""
    numpy = libraries.load("numpy", "modelyard.Image of an array")
    is_torch = libraries.is_from(data, "torch", "Tensor")
    try:
        array = numpy.asarray(libraries.on_host(data))
    except Exception as error:  # it may be anything that has a shape
        raise TypeError(f"Image: a {type(data).__name__} is no picture: {error}") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"Image takes arrays, tensors, figures, pictures and paths, not {type(data).__name__}"
        )
    shape = tuple(array.shape)
    while array.ndim > 3 and array.shape[0] == 1:  # a batch of one
        array = array[0]
    if array.ndim == 3 and is_torch:
        array = numpy.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    channels = 1 if array.ndim == 2 else array.shape[-1]
    if array.ndim not in {2, 3} or channels not in _MODES or not array.size:
        order = "channels × height × width" if is_torch else "height × width × channels"
        raise ValueError(f"Image: {order} with 1, 3 or 4 channels are needed, not the shape {shape}")
    return array


def eight_bits(array: Any, *, normalize: bool) -> Any:
    """Values as 0 to 255: floats from 0 to 1, or -1 to 1, are scaled if `normalize`; others are cut off."""
    numpy = libraries.load("numpy", "modelyard.Image of an array")
    if array.dtype == numpy.uint8:
        return numpy.ascontiguousarray(array)
    if array.dtype.kind == "b":
        return array.astype(numpy.uint8) * 255
    if array.dtype.kind == "f":
        array = numpy.nan_to_num(array.astype(numpy.float32, copy=False), nan=0.0)
        low, high = float(array.min()), float(array.max())
        if normalize and low >= 0 and high <= 1:
            array = array * 255
        elif normalize and low >= -1 and high <= 1:
            array = (array + 1) * 127.5
        array = numpy.rint(array)
    return numpy.ascontiguousarray(array.clip(0, 255).astype(numpy.uint8))
