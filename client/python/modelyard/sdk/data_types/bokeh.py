"""`wandb.sdk.data_types.bokeh`."""

from modelyard.media.figures import Bokeh

__all__ = ["Bokeh"]
