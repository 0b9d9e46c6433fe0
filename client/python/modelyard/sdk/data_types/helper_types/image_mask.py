"""`wandb.sdk.data_types.helper_types.image_mask`."""

from modelyard.media.images.annotations import ImageMask

__all__ = ["ImageMask"]
