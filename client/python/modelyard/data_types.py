"""Types of media under their public names: what `run.log` and `artifact.add` take besides numbers."""

from __future__ import annotations

from modelyard.media.audio import Audio
from modelyard.media.figures import Bokeh, Plotly
from modelyard.media.histogram import Histogram
from modelyard.media.html import Html
from modelyard.media.images.annotations import BoundingBoxes2D, Classes, ImageMask
from modelyard.media.images.image import Image
from modelyard.media.media import Media
from modelyard.media.molecule import Molecule
from modelyard.media.object3d import Object3D, box3d
from modelyard.media.tables.joined import JoinedTable
from modelyard.media.tables.partitioned import PartitionedTable
from modelyard.media.tables.table import Table
from modelyard.media.video import Video

WBValue = Media
BatchableMedia = Media

__all__ = [
    "Audio",
    "BatchableMedia",
    "Bokeh",
    "BoundingBoxes2D",
    "Classes",
    "Histogram",
    "Html",
    "Image",
    "ImageMask",
    "JoinedTable",
    "Media",
    "Molecule",
    "Object3D",
    "PartitionedTable",
    "Plotly",
    "Table",
    "Video",
    "WBValue",
    "box3d",
]
