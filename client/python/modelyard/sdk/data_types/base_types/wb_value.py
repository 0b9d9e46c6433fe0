"""`wandb.sdk.data_types.base_types.wb_value`."""

from modelyard.media.media import Media as WBValue

__all__ = ["WBValue"]
