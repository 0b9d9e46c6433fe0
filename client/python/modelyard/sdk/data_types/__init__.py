"""`wandb.sdk.data_types`: the types of media, in the modules where W&B has them."""

from modelyard.sdk.data_types import (
    audio,
    base_types,
    bokeh,
    helper_types,
    histogram,
    html,
    image,
    molecule,
    object_3d,
    plotly,
    table,
    video,
)

__all__ = [
    "audio",
    "base_types",
    "bokeh",
    "helper_types",
    "histogram",
    "html",
    "image",
    "molecule",
    "object_3d",
    "plotly",
    "table",
    "video",
]
