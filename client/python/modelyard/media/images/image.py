"""`Image`: a picture."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.media import content, libraries
from modelyard.media.content import Content, Place
from modelyard.media.images import pixels
from modelyard.media.images.annotations import BoundingBoxes2D, Classes, ImageMask
from modelyard.media.media import FileMedia, Source

FILE_TYPES = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "bmp": "bmp"}
"""Formats of Pillow by file type."""
PNG_LEVEL = 3
"""Of compression, 0 to 9. Smooth pictures take less than half the time of level 6, Pillow's default."""


class Image(FileMedia):
    """A picture: an array, a tensor, a matplotlib figure, a picture of Pillow, bytes or the path of a file.

    Arrays are height × width × 1, 3 or 4 channels, or height × width; tensors of torch have
    the channels first. Floats from 0 to 1, or from -1 to 1, are scaled to 0 to 255,
    unless `normalize=False`; other numbers are cut off at 0 and 255. A file and bytes are
    kept as they are, what else is given is written as `file_type`: png (default), jpg or bmp.
    `boxes` and `masks` lie over it, by name; see BoundingBoxes2D and ImageMask. Errors: TypeError,
    ValueError, OSError, and Error where Pillow or NumPy is missing.
    """

    type_name = "image-file"
    folder = "images"
    MAX_ITEMS = 200_000
    """Of a list."""

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: str | None = None,
        grouping: int | None = None,
        classes: Classes | Sequence[Mapping[str, Any]] | None = None,
        boxes: Mapping[str, Any] | None = None,
        masks: Mapping[str, Any] | None = None,
        file_type: str | None = None,
        normalize: bool = True,
    ) -> None:
        self.width: int | None = None
        self.height: int | None = None
        if file_type is not None and file_type not in FILE_TYPES:
            raise ValueError(f"Image: file_type is one of {', '.join(FILE_TYPES)}, not {file_type!r}")
        if isinstance(data_or_path, Image):
            super().__init__(data_or_path.content, caption or data_or_path.caption)
            self._take(data_or_path)
        else:
            super().__init__(self._content(data_or_path, mode, file_type or "png", normalize), caption)
            self.grouping, self.classes = None, None
            self.boxes: dict[str, BoundingBoxes2D] = {}
            self.masks: dict[str, ImageMask] = {}
        self.grouping = self.grouping if grouping is None else int(grouping)
        self.classes = Classes.of(classes) or self.classes
        self.boxes |= _layers("boxes", BoundingBoxes2D, boxes)
        self.masks |= _layers("masks", ImageMask, masks)

    def _take(self, other: Image) -> None:
        self.width, self.height, self.grouping = other.width, other.height, other.grouping
        self.classes, self.boxes, self.masks = other.classes, dict(other.boxes), dict(other.masks)

    @property
    def format(self) -> str:
        """`png`, `jpg` and the like."""
        return self.content.suffix[1:]

    @property
    def image(self) -> Any:
        """The picture, as Pillow has it. Errors: OSError, Error where Pillow is missing."""
        pillow = libraries.load("PIL.Image", "Image.image")
        found = pillow.open(io.BytesIO(self.content.read()))
        found.load()
        return found

    def _content(self, data: Any, mode: str | None, file_type: str, normalize: bool) -> Content:
        if isinstance(data, str | os.PathLike):
            return self._file(data)
        if isinstance(data, bytes | bytearray | io.BytesIO):
            raw = data.getvalue() if isinstance(data, io.BytesIO) else bytes(data)
            pillow = libraries.load("PIL.Image", "modelyard.Image of bytes")
            try:
                with pillow.open(io.BytesIO(raw)) as found:
                    self.width, self.height = found.size
                    suffix = {"jpeg": "jpg"}.get(found.format.lower(), found.format.lower())
            except OSError as error:
                raise ValueError(f"Image: the bytes are no picture that Pillow knows: {error}") from error
            return Content(f".{suffix}", raw)
        picture = pixels.picture(data, mode, normalize=normalize, opaque=FILE_TYPES[file_type] != "png")
        self.width, self.height = picture.size
        buffer = io.BytesIO()
        options = {"compress_level": PNG_LEVEL} if file_type == "png" else {}
        picture.save(buffer, FILE_TYPES[file_type], **options)
        return Content(f".{file_type}", buffer.getvalue())

    def _file(self, path: str | os.PathLike[str]) -> Content:
        """A file, as it is; its width and height are known where Pillow is installed and knows its format."""
        found = content.local_file("Image", path)
        pillow = libraries.load_if_installed("PIL.Image")
        if pillow is not None:
            try:
                with pillow.open(found.path) as picture:
                    self.width, self.height = picture.size
            except OSError:  # such as an SVG, which has no pixels
                pass
        return found

    def details(self) -> dict[str, Any]:
        """Format, size in pixels and grouping."""
        found: dict[str, Any] = {"format": self.format}
        if self.width is not None:
            found |= {"width": self.width, "height": self.height}
        if self.grouping is not None:
            found["grouping"] = self.grouping
        return found

    def store(self, place: Place) -> dict[str, Any]:
        """Puts picture, boxes and masks into files, and returns the map that stands for them."""
        return super().store(place) | self._stored_layers(place)

    def _stored_layers(self, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.boxes:
            found["boxes"] = {name: layer.store(place) for name, layer in self.boxes.items()}
        if self.masks:
            found["masks"] = {name: layer.store(place) for name, layer in self.masks.items()}
        if self.classes:
            found["classes"] = self.classes.store(place)
        return found

    @classmethod
    def load(cls, stored: Mapping[str, Any], source: Source) -> Image:
        """The picture that was stored."""
        found = super().load(stored, source)
        assert isinstance(found, Image)
        found.boxes = {
            name: BoundingBoxes2D.load(layer, source) for name, layer in stored.get("boxes", {}).items()
        }
        found.masks = {name: ImageMask.load(layer, source) for name, layer in stored.get("masks", {}).items()}
        found.classes = Classes.load(stored["classes"], source) if "classes" in stored else None
        return found

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Takes size and grouping."""
        self.width, self.height = stored.get("width"), stored.get("height")
        self.grouping = stored.get("grouping")

    @classmethod
    def store_list(cls, items: Sequence[Any], place: Place) -> Any:
        """Stores a list of pictures as one map; width and height are those of the first."""
        found = [item.store(place) for item in items]
        first = items[0]
        stored: dict[str, Any] = {"_type": "images/separated", "format": first.format, "count": len(found)}
        if first.width is not None:
            stored |= {"width": first.width, "height": first.height}
        stored["filenames"] = [one["path"] for one in found]
        for name, key in (("captions", "caption"), ("all_boxes", "boxes"), ("all_masks", "masks"),
                          ("all_classes", "classes"), ("groupings", "grouping")):  # fmt: skip
            if any(key in one for one in found):
                stored[name] = [one.get(key) for one in found]
        return stored

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Image):
            return NotImplemented
        return self.content.read() == other.content.read() and self.caption == other.caption

    __hash__ = None  # type: ignore[assignment]  # pictures are compared by content

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        import base64

        kind = {"jpg": "jpeg", "svg": "svg+xml"}.get(self.format, self.format)
        data = base64.b64encode(self.content.read()).decode()
        return f'<img src="data:image/{kind};base64,{data}">'


def _layers(argument: str, kind: Any, given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f"Image: {argument} is a dict by name, not {type(given).__name__}")
    return {name: one if isinstance(one, kind) else kind(one, name) for name, one in given.items()}
