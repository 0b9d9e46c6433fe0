"""Types of media under their public names: what `run.log` and `artifact.add` take besides numbers."""

from __future__ import annotations

from modelyard.media.histogram import Histogram
from modelyard.media.html import Html
from modelyard.media.images.annotations import BoundingBoxes2D, Classes, ImageMask
from modelyard.media.images.image import Image
from modelyard.media.media import Media
from modelyard.media.tables.table import Table

WBValue = Media

__all__ = [
    "BoundingBoxes2D",
    "Classes",
    "Histogram",
    "Html",
    "Image",
    "ImageMask",
    "Media",
    "Table",
    "WBValue",
]
