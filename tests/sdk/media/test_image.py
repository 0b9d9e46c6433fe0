"""`Image`: what it takes, and which pixels come of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from modelyard.data_types import BoundingBoxes2D, Classes, Image


def _pixels(image: Image) -> list[Any]:
    found: list[Any] = np.asarray(image.image).tolist()
    return found


@pytest.mark.parametrize(
    ("array", "mode", "pixels"),
    [
        (np.array([[3, 255]], np.uint8), "L", [[3, 255]]),
        (np.array([[[3], [4]]], np.uint8), "L", [[3, 4]]),
        (np.array([[[1, 2, 3]]], np.uint8), "RGB", [[[1, 2, 3]]]),
        (np.array([[[1, 2, 3, 4]]], np.uint8), "RGBA", [[[1, 2, 3, 4]]]),
        (np.array([[0.0, 0.5, 1.0]]), "L", [[0, 128, 255]]),
        (np.array([[-1.0, 0.0, 1.0]]), "L", [[0, 128, 255]]),
        (np.array([[0.0, 2.0, 300.0]]), "L", [[0, 2, 255]]),
        (np.array([[-5, 300]]), "L", [[0, 255]]),
        (np.array([[True, False]]), "L", [[255, 0]]),
        (np.array([[np.nan, 1.0]]), "L", [[0, 255]]),
        (np.zeros((1, 2, 2, 3), np.uint8), "RGB", np.zeros((2, 2, 3), int).tolist()),
        ([[0, 7]], "L", [[0, 7]]),
    ],
)
def test_arrays_become_eight_bits_a_channel(array: Any, mode: str, pixels: list[Any]) -> None:
    image = Image(array)
    assert image.image.mode == mode
    assert _pixels(image) == pixels


def test_floats_are_not_scaled_on_request_and_modes_are_converted() -> None:
    assert _pixels(Image(np.array([[0.0, 1.0]]), normalize=False)) == [[0, 1]]
    assert Image(np.zeros((2, 2, 3), np.uint8), mode="L").image.mode == "L"
    assert Image(PIL.Image.new("P", (3, 2))).image.size == (3, 2)


@pytest.mark.parametrize("file_type", ["png", "jpg", "bmp"])
def test_the_file_is_of_the_type_that_is_asked_for(
    file_type: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Image(np.zeros((2, 3, 4), np.uint8), file_type=file_type)
    assert (image.format, image.width, image.height) == (file_type, 3, 2)
    assert image.image.format == {"jpg": "JPEG"}.get(file_type, file_type.upper())


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.zeros(3), ValueError, "height × width"),
        (np.zeros((2, 2, 2)), ValueError, "1, 3 or 4 channels"),
        (np.zeros((0, 3)), ValueError, "shape"),
        (np.array([["a"]]), TypeError, "Image takes arrays"),
        (object(), TypeError, "Image takes arrays"),
        ("nowhere.png", FileNotFoundError, "nowhere"),
        ("s3://bucket/x.png", ValueError, "add_reference"),
        (b"no picture", ValueError, "no picture"),
    ],
)
def test_what_is_no_picture_is_an_error_at_once(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Image(data)


def test_a_copy_of_an_image_takes_further_layers() -> None:
    first = Image(np.zeros((2, 2)), caption="first", masks={"m": {"mask_data": np.zeros((2, 2), int)}})
    second = Image(first, caption="second", boxes={"b": {"box_data": []}})
    assert (second.caption, list(second.masks), list(second.boxes), list(first.boxes)) == (
        "second", ["m"], ["b"], [],
    )  # fmt: skip


@pytest.mark.parametrize(
    "layer",
    [
        {"boxes": 3},
        {"boxes": {"b": {"box_data": [{"position": {"minX": 0}}]}}},
        {"boxes": {"b": {"box_data": [{"position": dict.fromkeys(("middle", "width", "height"), 0),
                                       "class_id": "x"}]}}},
        {"masks": {"m": {"mask_data": np.zeros((2, 2, 2))}}},
        {"masks": {"m": {"mask_data": np.full((2, 2), 0.5)}}},
        {"masks": {"m": {}}},
        {"classes": [{"id": "a", "name": "b"}]},
        {"file_type": "tiff"},
    ],
)  # fmt: skip
def test_layers_of_another_form_are_errors_at_once(layer: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Image(np.zeros((2, 2)), **layer)


def test_classes_have_whole_numbers_and_names() -> None:
    assert Classes([{"id": np.int64(3), "name": "x"}]).names == {3: "x"}
    assert BoundingBoxes2D({"box_data": []}, "b").boxes == []


def test_without_its_library_an_image_says_what_to_install(tmp_path: Path) -> None:
    program = """
        import sys
        sys.modules["PIL"] = sys.modules["PIL.Image"] = None
        import modelyard
        from modelyard import errors
        open("x.svg", "w").write("<svg/>")
        image = modelyard.Image("x.svg")   # a file is kept as it is
        assert image.width is None
        try:
            modelyard.Image([[1, 2]])
        except errors.Error as error:
            print(error)
    """
    import textwrap

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "modelyard.Image needs the package pillow: pip install pillow\n"


@pytest.mark.optional("torch")
def test_tensors_of_torch_have_their_channels_first() -> None:
    import importlib

    torch = importlib.import_module("torch")
    assert _pixels(Image(torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]], [[0.0, 0.0]]]))) == [
        [[0, 255, 0], [255, 0, 0]]
    ]
    assert Image(torch.zeros((1, 4, 2), requires_grad=True)).image.size == (2, 4)
    assert Image(torch.zeros((1, 3, 4, 2), dtype=torch.bfloat16)).image.mode == "RGB"
    with pytest.raises(ValueError, match="channels × height × width"):
        Image(torch.zeros((5, 2, 3)))
