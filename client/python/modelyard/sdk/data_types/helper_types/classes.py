"""`wandb.sdk.data_types.helper_types.classes`."""

from modelyard.media.images.annotations import Classes

__all__ = ["Classes"]
