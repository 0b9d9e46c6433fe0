"""`wandb.sdk.data_types.histogram`."""

from modelyard.media.histogram import Histogram

__all__ = ["Histogram"]
