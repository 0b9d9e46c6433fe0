"""`wandb.sdk.data_types.helper_types`."""

from modelyard.sdk.data_types.helper_types import bounding_boxes_2d, classes, image_mask

__all__ = ["bounding_boxes_2d", "classes", "image_mask"]
