"""`Plotly` and `Bokeh`: figures of plotly, bokeh or matplotlib, as documents that their libraries draw."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any

from modelyard.media import libraries
from modelyard.media.content import Content, local_file
from modelyard.media.images.image import Image
from modelyard.media.images.pixels import figure_of, is_figure
from modelyard.media.media import FileMedia

_BOKEH = ".bokeh.json"


class Plotly(FileMedia):
    """A figure of plotly, or one of matplotlib that plotly can draw. ValueError for others."""

    type_name = "plotly-file"
    folder = "plotly"

    def __init__(self, val: Any) -> None:
        if is_plotly(val):
            figure = val
        elif is_figure(val):
            figure = converted(val)
            if figure is None:
                raise ValueError("Plotly: plotly cannot draw this figure of matplotlib; log it as an Image")
        else:
            raise ValueError(f"Plotly takes a figure of plotly or matplotlib, not {type(val).__name__}")
        super().__init__(Content(".plotly.json", figure.to_json().encode()))

    @classmethod
    def make_plot_media(cls, val: Any) -> Plotly | Image:
        """A figure as Plotly, or as an Image where plotly cannot draw it."""
        return as_media(val)

    @property
    def figure(self) -> Any:
        """The figure. Error where plotly is missing."""
        plotly = libraries.load("plotly.io", "Plotly.figure")
        return plotly.from_json(self.content.read().decode())


class Bokeh(FileMedia):
    """A figure or layout of bokeh, or the path of a document that bokeh has written as JSON.

    Errors: ValueError for others, OSError.
    """

    type_name = "bokeh-file"
    folder = "bokeh"

    def __init__(self, data_or_path: Any) -> None:
        if is_bokeh(data_or_path):
            embed = libraries.load("bokeh.embed", "Bokeh")
            document = json.dumps(embed.json_item(data_or_path)["doc"]).encode()
        elif isinstance(data_or_path, str | os.PathLike):
            document = local_file("Bokeh", data_or_path, _BOKEH).read()
            if not isinstance(json.loads(document), dict):
                raise ValueError(f"Bokeh: {os.fspath(data_or_path)} is no document of bokeh")
        else:
            raise ValueError(f"Bokeh takes a figure of bokeh or a path, not {type(data_or_path).__name__}")
        super().__init__(Content(_BOKEH, document))

    @property
    def figure(self) -> Any:
        """The figure, in a document of its own. Error where bokeh is missing."""
        bokeh = libraries.load("bokeh.document", "Bokeh.figure")
        return bokeh.Document.from_json(json.loads(self.content.read())).roots[0]


def is_bokeh(value: Any) -> bool:
    """Whether it is a figure or a layout of bokeh."""
    return libraries.is_from(value, "bokeh", "Model")


def is_plotly(value: Any) -> bool:
    """Whether it is a figure of plotly."""
    return libraries.is_from(value, "plotly", "BaseFigure")


def as_media(figure: Any) -> Plotly | Image:
    """A figure as Plotly; of matplotlib as an Image, where plotly is missing or cannot draw all of it."""
    if is_plotly(figure):
        return Plotly(figure)
    found = converted(figure)
    return Image(figure) if found is None else Plotly(found)


def converted(artist: Any) -> Any:
    """A figure of matplotlib as one of plotly; None where that is not possible without loss."""
    figure = figure_of(artist)
    if any(axes.images or axes.collections for axes in figure.axes):
        return None
    tools = libraries.load_if_installed("plotly.tools")
    if tools is None:
        return None
    with warnings.catch_warnings(record=True) as lost:
        warnings.simplefilter("always")
        try:
            found = tools.mpl_to_plotly(figure)
        except Exception:  # of whatever plotly does not know, and of versions that do not fit
            return None
    return None if any(issubclass(one.category, UserWarning) for one in lost) else found
