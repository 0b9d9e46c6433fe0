"""What lies over a picture: boxes, masks, and the names of their classes."""

from __future__ import annotations

import io
import json
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.conversion.plain_values import plain
from modelyard.media import content, libraries
from modelyard.media.content import Content, Place
from modelyard.media.media import Media, Source, stored_suffix

_RANGE = ("minX", "maxX", "minY", "maxY")
_CENTER = ("middle", "width", "height")


class Classes(Media):
    """Names of classes: `Classes([{"id": 0, "name": "road"}, …])`. Ids are whole numbers."""

    type_name = "classes"

    def __init__(self, class_set: Sequence[Mapping[str, Any]]) -> None:
        self.class_set = [dict(one) for one in class_set]
        for one in self.class_set:
            if not isinstance(one.get("id"), numbers.Integral) or not isinstance(one.get("name"), str):
                raise TypeError(f"Classes: each has an id, a whole number, and a name, a text, not {one}")
            one["id"] = int(one["id"])

    @classmethod
    def of(cls, given: Classes | Sequence[Mapping[str, Any]] | Mapping[Any, str] | None) -> Classes | None:
        """Classes as users give them: a Classes, a list of dicts, or names by id."""
        if given is None or isinstance(given, Classes):
            return given
        if isinstance(given, Mapping):
            return cls([{"id": int(number), "name": name} for number, name in given.items()])
        return cls(given)

    @property
    def names(self) -> dict[int, str]:
        """Names by id."""
        return {one["id"]: one["name"] for one in self.class_set}

    def store(self, place: Place) -> dict[str, Any]:
        """Puts the names into a file, which all values with the same names share."""
        document = {"_type": self.type_name, "class_set": sorted(self.class_set, key=lambda one: one["id"])}
        file = Content(".classes.json", json.dumps(document, sort_keys=True).encode())
        return {"type": "classes-file", **place.cells.put(file, "classes").facts()}

    @classmethod
    def load(cls, stored: Mapping[str, Any], source: Source) -> Classes:
        """The names that were stored."""
        if "class_set" in stored:
            return cls(stored["class_set"])
        return cls(json.loads(source.fetch(stored["path"]).read_bytes())["class_set"])


class BoundingBoxes2D(Media):
    """Boxes of one kind over a picture: `{"box_data": [{"position": …, "class_id": 1, …}, …]}`.

    A position is `minX, maxX, minY, maxY`, or `middle, width, height`, as parts of the
    picture's sides; with `"domain": "pixel"` in pixels. `box_caption` and `scores` (numbers by name)
    are optional, and so are names of classes by number beside `box_data`, `class_labels`.
    """

    type_name = "boxes2D"

    def __init__(self, val: Mapping[str, Any], key: str) -> None:
        if not isinstance(val, Mapping) or not isinstance(val.get("box_data"), Sequence):
            raise TypeError(f"boxes {key!r}: a dict with the key box_data, a list, is needed")
        self.boxes: list[dict[str, Any]] = [plain(dict(box), f"boxes {key}") for box in val["box_data"]]
        for box in self.boxes:
            _check_box(box, key)
        self.class_labels = {
            str(number): str(name) for number, name in (val.get("class_labels") or {}).items()
        }

    def store(self, place: Place) -> dict[str, Any]:
        """Puts the boxes into a file."""
        document: dict[str, Any] = {"box_data": self.boxes}
        if self.class_labels:
            document["class_labels"] = self.class_labels
        file = Content(".boxes2D.json", json.dumps(document, separators=(",", ":")).encode())
        return {"_type": self.type_name, **place.put(file, "metadata/boxes2D").facts()}

    @classmethod
    def load(cls, stored: Mapping[str, Any], source: Source) -> BoundingBoxes2D:
        """The boxes that were stored."""
        return cls(json.loads(source.fetch(stored["path"]).read_bytes()), "")


class ImageMask(Media):
    """A class for each pixel: `{"mask_data": array}`, or `{"path": …}` of a PNG.

    Classes are whole numbers from 0 to 65,535; `class_labels` are their names by number.
    """

    type_name = "mask"

    def __init__(self, val: Mapping[str, Any], key: str) -> None:
        if not isinstance(val, Mapping) or not {"mask_data", "path"} & set(val):
            raise TypeError(f"masks {key!r}: a dict with the key mask_data or path is needed")
        self.classes = Classes.of(val.get("class_labels") or None)
        if "path" in val:
            self.content = content.at_path(val["path"], ".mask.png")
        else:
            self.content = Content(".mask.png", _mask_png(val["mask_data"], key))

    def store(self, place: Place) -> dict[str, Any]:
        """Puts the mask into a file."""
        stored: dict[str, Any] = {
            "_type": self.type_name,
            **place.put(self.content, "images/mask").facts(),
        }
        if self.classes:
            stored["classes"] = self.classes.store(place)
        return stored

    @classmethod
    def load(cls, stored: Mapping[str, Any], source: Source) -> ImageMask:
        """The mask that was stored."""
        found = cls.__new__(cls)
        found.content = Content(stored_suffix(stored["path"]), source.fetch(stored["path"]))
        found.classes = Classes.load(stored["classes"], source) if "classes" in stored else None
        return found

    @property
    def data(self) -> Any:
        """The classes of the pixels, as an array."""
        pillow = libraries.load("PIL.Image", "a mask")
        numpy = libraries.load("numpy", "a mask")
        return numpy.asarray(pillow.open(io.BytesIO(self.content.read())))


def _check_box(box: Mapping[str, Any], key: str) -> None:
    position = box.get("position")
    named = isinstance(position, Mapping) and any(
        all(name in position for name in names) for names in (_RANGE, _CENTER)
    )
    if not named:
        raise TypeError(
            f"boxes {key!r}: each has a position with minX, maxX, minY and maxY, or middle, width and height"
        )
    if not isinstance(box.get("class_id", 0), int):
        raise TypeError(f"boxes {key!r}: class_id is a whole number, not {box['class_id']!r}")
    scores = box.get("scores") or {}
    if not isinstance(scores, Mapping) or not all(isinstance(one, int | float) for one in scores.values()):
        raise TypeError(f"boxes {key!r}: scores are numbers by name, not {scores!r}")


def _mask_png(data: Any, key: str) -> bytes:
    numpy = libraries.load("numpy", "a mask")
    pillow = libraries.load("PIL.Image", "a mask")
    array = numpy.asarray(libraries.on_host(data))
    if array.ndim != 2 or not array.size:
        raise TypeError(f"masks {key!r}: mask_data is an array of two dimensions, not of {array.ndim}")
    if not (array == array.astype(numpy.int64)).all() or array.min() < 0 or array.max() > 65_535:
        raise ValueError(f"masks {key!r}: mask_data has whole numbers from 0 to 65,535")
    kind = numpy.uint8 if array.max() < 256 else numpy.uint16
    buffer = io.BytesIO()
    pillow.fromarray(numpy.ascontiguousarray(array.astype(kind))).save(buffer, "png")
    return buffer.getvalue()
