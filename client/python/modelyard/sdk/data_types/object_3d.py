"""`wandb.sdk.data_types.object_3d`."""

from modelyard.media.object3d import Object3D, box3d

__all__ = ["Object3D", "box3d"]
