"""Which class stands behind a map with `_type`, and values with media instead of such maps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from modelyard.conversion.arrays import HISTOGRAM
from modelyard.media.audio import Audio
from modelyard.media.charts.chart import CustomChart
from modelyard.media.figures import Bokeh, Plotly
from modelyard.media.histogram import Histogram
from modelyard.media.html import Html
from modelyard.media.images.annotations import Classes
from modelyard.media.images.image import Image
from modelyard.media.media import FileMedia, Media
from modelyard.media.molecule import Molecule
from modelyard.media.object3d import Object3D
from modelyard.media.tables.joined import JoinedTable
from modelyard.media.tables.partitioned import PartitionedTable
from modelyard.media.tables.table import Table
from modelyard.media.video import Video

_FILES: tuple[type[FileMedia], ...] = (Audio, Bokeh, Html, Image, Molecule, Object3D, Plotly, Video)
CLASSES: Mapping[str, type[Media]] = {
    **{one.type_name: one for one in _FILES},
    HISTOGRAM: Histogram,
    "classes": Classes,
    CustomChart.type_name: CustomChart,
    JoinedTable.type_name: JoinedTable,
    PartitionedTable.type_name: PartitionedTable,
    "table-file": Table,
    "incremental-table-file": Table,
}
"""Classes by the `_type` of maps."""
_LISTS = {one.list_type: one for one in _FILES if one.list_type}
_IMAGES = "images/separated"


class StoredMedia:
    """A source of stored values: the files of a run or an artifact.

    `fetch` returns the local copy of a file; `prefetch` makes those of many, faster than one by one;
    `paths` has the files whose paths begin with a text.
    """

    def __init__(
        self,
        fetch: Callable[[str], Path],
        prefetch: Callable[[Collection[str]], None] = lambda paths: None,
        paths: Callable[[str], Collection[str]] = lambda prefix: (),
    ) -> None:
        self.fetch = fetch
        self.prefetch = prefetch
        self.paths = paths

    def restored(self, value: Any) -> Any:
        """A value with media instead of the maps that stand for them, at all levels."""
        if isinstance(value, list | tuple):
            return [self.restored(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        kind = str(value.get("_type", ""))
        if kind == _IMAGES:
            return [Image.load(one, self) for one in _separated(value)]
        if kind in _LISTS:
            return [self.restored(one) for one in value[_LISTS[kind].list_key]]
        if kind in CLASSES:
            return CLASSES[kind].load(value, self)
        return {key: self.restored(item) for key, item in value.items()}


def _separated(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The maps of the pictures of a list."""
    names = {"captions": "caption", "all_boxes": "boxes", "all_masks": "masks", "all_classes": "classes",
             "groupings": "grouping"}  # fmt: skip
    found: list[dict[str, Any]] = [{"path": path} for path in value["filenames"]]
    for name, key in names.items():
        for one, item in zip(found, value.get(name, ()), strict=False):
            if item is not None:
                one[key] = item
    return found
