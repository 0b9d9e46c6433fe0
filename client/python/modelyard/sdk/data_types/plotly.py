"""`wandb.sdk.data_types.plotly`."""

from modelyard.media.figures import Plotly

__all__ = ["Plotly"]
