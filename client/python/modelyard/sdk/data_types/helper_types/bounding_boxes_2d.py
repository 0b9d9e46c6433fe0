"""`wandb.sdk.data_types.helper_types.bounding_boxes_2d`."""

from modelyard.media.images.annotations import BoundingBoxes2D

__all__ = ["BoundingBoxes2D"]
