"""`wandb.sdk.data_types.audio`."""

from modelyard.media.audio import Audio

__all__ = ["Audio"]
