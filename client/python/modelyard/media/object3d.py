"""`Object3D`: points, boxes and scenes in space."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.conversion.plain_values import plain
from modelyard.media import content, libraries
from modelyard.media.content import Content, Place
from modelyard.media.media import FileMedia

TYPES = ("obj", "gltf", "glb", "babylon", "stl", "pts.json")
CLOUD = "lidar/beta"
"""The only type of point clouds."""
_COLUMNS = {3, 4, 6}


class Object3D(FileMedia):
    """Points in space: an array of n × 3 (x, y, z), n × 4 (and a class) or n × 6 (and red, green, blue).

    A dict `{"type": "lidar/beta", "points": …, "boxes": …, "vectors": …}` is a scene. A file
    (obj, gltf, glb, babylon, stl, pts.json), by its path, or opened with `file_type`, is kept as it is.
    Errors: ValueError, OSError, Error where NumPy is missing.
    """

    type_name = "object3D-file"
    folder = "object3D"
    list_type = "object3D"
    list_key = "objects"

    def __init__(
        self, data_or_path: Any, caption: str | None = None, file_type: str | None = None, **ignored: Any
    ) -> None:
        super().__init__(_content(data_or_path, file_type), caption)

    @classmethod
    def from_file(cls, data_or_path: Any, file_type: str | None = None) -> Object3D:
        """A file, by its path or opened."""
        return cls(data_or_path, file_type=file_type)

    @classmethod
    def from_numpy(cls, data: Any) -> Object3D:
        """Points of an array."""
        return cls(data)

    @classmethod
    def from_point_cloud(
        cls,
        points: Any,
        boxes: Any,
        vectors: Any = None,
        point_cloud_type: str = CLOUD,
    ) -> Object3D:
        """A scene."""
        return cls({"type": point_cloud_type, "points": points, "boxes": boxes, "vectors": vectors or []})

    @classmethod
    def store_list(cls, items: Sequence[Any], place: Place) -> Any:
        """Stores a list as one map, with the names of the files."""
        stored = super().store_list(items, place)
        names = [one["path"].rpartition("/")[2] for one in stored[cls.list_key]]
        return {**stored, "filenames": names}


def box3d(
    *,
    center: Any,
    size: Any,
    orientation: Any,
    color: Any,
    label: str | None = None,
    score: float | None = None,
) -> dict[str, Any]:
    """A box of a scene: its center, its sides, and its rotation as a quaternion (real part first).

    `color` is red, green, blue from 0 to 255. ValueError for other numbers of items, and a rotation of 0.
    """
    numpy = libraries.load("numpy", "modelyard.box3d")
    for name, given, count in (("center", center, 3), ("size", size, 3), ("orientation", orientation, 4),
                               ("color", color, 3)):  # fmt: skip
        if len(given) != count:
            raise ValueError(f"box3d: {name} has {count} numbers, not {len(given)}")
    if not any(orientation):
        raise ValueError("box3d: orientation is a quaternion other than 0")
    signs = numpy.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    turned = signs * numpy.asarray(size, float) / 2 @ _rotation(orientation, numpy).T
    corners = turned + numpy.asarray(center, float)
    box: dict[str, Any] = {"corners": corners.tolist(), "color": list(color), "label": label, "score": score}
    return plain(box, "box3d")  # type: ignore[no-any-return]  # a map stays one


def _rotation(quaternion: Any, numpy: Any) -> Any:
    """The matrix of a quaternion."""
    w, x, y, z = numpy.asarray(quaternion, float) / numpy.linalg.norm(quaternion)
    return numpy.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _content(data: Any, file_type: str | None) -> Content:
    if isinstance(data, str | os.PathLike):
        name = os.fspath(data).lower()
        known = next((kind for kind in TYPES if name.endswith(f".{kind}")), None)
        if known is None:
            raise ValueError(f"Object3D: files are of the types {', '.join(TYPES)}, not {name!r}")
        return content.local_file("Object3D", data, f".{known}")
    if callable(getattr(data, "read", None)):
        if file_type not in TYPES:
            raise ValueError(f"Object3D: an open file needs file_type, one of {', '.join(TYPES)}")
        raw = data.read()
        return Content(f".{file_type}", raw if isinstance(raw, bytes) else raw.encode())
    document = _scene(data) if isinstance(data, Mapping) else _points(data)
    try:
        text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise ValueError("Object3D: coordinates are finite numbers, not NaN or infinities") from error
    return Content(".pts.json", text.encode())


def _points(data: Any) -> list[Any]:
    numpy = libraries.load("numpy", "modelyard.Object3D of points")
    array = numpy.asarray(libraries.on_host(data))
    if array.ndim != 2 or array.shape[1] not in _COLUMNS or array.dtype.kind not in "iuf":
        raise ValueError(
            f"Object3D: an array of n × 3, 4 or 6 numbers is needed, not the shape {array.shape}"
        )
    points: list[Any] = array.tolist()
    return points


def _scene(data: Mapping[str, Any]) -> dict[str, Any]:
    if data.get("type") != CLOUD:
        raise ValueError(f"Object3D: the type of a scene is {CLOUD!r}, not {data.get('type')!r}")
    return {"type": CLOUD, **{name: _plain(data.get(name, ())) for name in ("vectors", "points", "boxes")}}


def _plain(value: Any) -> Any:
    """Arrays as lists, at all levels, whatever their length."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if callable(getattr(value, "tolist", None)):
        value = libraries.on_host(value).tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
