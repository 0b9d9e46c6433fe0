"""`wandb.sdk.data_types.image`."""

from modelyard.media.images.image import Image

__all__ = ["Image"]
