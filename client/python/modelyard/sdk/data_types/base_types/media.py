"""`wandb.sdk.data_types.base_types.media`."""

from modelyard.media.media import Media

BatchableMedia = Media

__all__ = ["BatchableMedia", "Media"]
